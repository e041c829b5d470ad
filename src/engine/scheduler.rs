//! Which generation is begun next, and whose prompt is processed.
//!
//! One prompt is processed at a time: of those with the highest priority the one that was started first. So the first of
//! many gets its answer as soon as if it were alone, and the memory for those that wait is not taken yet. A generation is
//! begun when there is room for its state; none of a lower rank overtakes one that waits for room.

use std::cmp::Reverse;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::decoding::{Decoding, Owner, Stream, promised};
use super::panic::panic_error;
use super::prefix::Trail;
use super::serving::Serving;
use crate::array::{self, Device, memory, system};
use crate::error::{Error, ErrorKind, Result};
use crate::generate::{Prefill, Request, Sequence, StopReason};
use crate::models::LanguageModel;

/// How many wait, readable from any thread.
#[derive(Clone, Default)]
pub(super) struct Queue(Arc<AtomicUsize>);

/// A place in the queue, free again when this is dropped.
pub(super) struct Place(Queue);

impl Queue {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// A place, if fewer than `most` wait.
    pub fn enter(&self, most: usize) -> Result<Place> {
        let more = |n: usize| (n < most).then_some(n + 1);
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, more) {
            Ok(_) => Ok(Place(self.clone())),
            Err(_) => Err(Error::new(
                ErrorKind::Busy,
                format!("{most} generations wait already, as many as max_queue allows"),
            )),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The rules, as an engine's options give them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    /// Generations that hold state at once.
    pub max_sequences: usize,
    /// How long answers under way wait for the prompts of others.
    pub token_gap: Duration,
}

/// A generation that was started.
pub(super) struct Demand {
    pub owner: Box<dyn Owner + Send>,
    pub request: Box<Request>,
    pub place: Place,
}

/// In the order in which they are served.
type Rank = (Reverse<i32>, u64);

/// A generation that is not answered yet.
struct Prompt {
    rank: Rank,
    /// Until it is over.
    owner: Option<Box<dyn Owner>>,
    state: State,
}

enum State {
    Waiting { request: Box<Request>, _place: Place },
    Begun(Box<Prefill>, Trail),
    Over,
}

/// Generations whose prompts wait or are processed.
#[derive(Default)]
pub(super) struct Scheduler {
    rules: Rules,
    /// By rank.
    prompts: Vec<Prompt>,
    started: u64,
}

impl Scheduler {
    pub fn new(rules: Rules) -> Scheduler {
        Scheduler { rules, ..Default::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.prompts.is_empty()
    }

    /// Forgets all; their owners hear of it as of any work that is dropped.
    pub fn clear(&mut self) {
        self.prompts.clear();
    }

    pub fn submit(&mut self, demand: Demand) {
        let Demand { owner, request, place } = demand;
        let rank = (Reverse(request.priority()), self.started);
        self.started += 1;
        self.put(Prompt { rank, owner: Some(owner), state: State::Waiting { request, _place: place } });
    }

    fn put(&mut self, prompt: Prompt) {
        let at = self.prompts.partition_point(|other| other.rank < prompt.rank);
        self.prompts.insert(at, prompt);
    }

    /// A chunk of the prompt whose turn it is. Returns whether there was one.
    pub fn turn(&mut self, serving: &mut Serving) -> bool {
        let ended: Vec<Prompt> = self.prompts.extract_if(.., |prompt| prompt.ends().is_some()).collect();
        let next = self.next(serving);
        let works = next.is_some();
        ended.into_iter().chain(next).for_each(|prompt| self.guarded(prompt, |prompt| prompt.step(serving)));
        works
    }

    /// Ends the generations of a model that are not answered yet.
    pub fn cancel(&mut self, model: u64, serving: &mut Serving) {
        let of_it = |prompt: &mut Prompt| prompt.owner.as_ref().is_some_and(|owner| owner.model() == model);
        for prompt in self.prompts.extract_if(.., of_it).collect::<Vec<_>>() {
            self.guarded(prompt, |prompt| prompt.end_early(StopReason::Cancelled, serving));
        }
    }

    /// Does something with a prompt, which is put back if there is more to do. A panic ends it, and only it.
    fn guarded(&mut self, mut prompt: Prompt, work: impl FnOnce(&mut Prompt) -> bool) {
        match catch_unwind(AssertUnwindSafe(|| work(&mut prompt))) {
            Ok(true) => self.put(prompt),
            Ok(false) => {}
            Err(payload) => {
                let error = panic_error(&*payload);
                log::error!("{error}");
                prompt.state = State::Over;
                let end = |owner: Box<dyn Owner>| {
                    owner.poison();
                    owner.end(Err(error));
                };
                let _ = catch_unwind(AssertUnwindSafe(|| prompt.tell(end)));
            }
        }
    }

    /// The one to work on now.
    fn next(&mut self, serving: &mut Serving) -> Option<Prompt> {
        let begun = self.prompts.iter().filter(|p| matches!(p.state, State::Begun(..))).count();
        let mut first_waiting = true;
        for i in 0..self.prompts.len() {
            let takes = match &self.prompts[i].state {
                State::Waiting { request, .. } => {
                    // Whoever comes later must not take the room that this one waits for.
                    std::mem::take(&mut first_waiting) && self.has_room(serving, begun, &self.prompts[i], request)
                }
                State::Begun(..) | State::Over => true,
            };
            if takes {
                return Some(self.prompts.remove(i));
            }
        }
        None
    }

    /// Whether another sequence can be begun. If none holds any state it always can: what it takes is only estimated.
    fn has_room(&self, serving: &mut Serving, begun: usize, prompt: &Prompt, request: &Request) -> bool {
        let decoding = serving.decodings.iter().map(Decoding::count).sum::<usize>();
        if begun + decoding == 0 {
            return true;
        }
        if begun + decoding >= self.rules.max_sequences {
            return false;
        }
        let Some(owner) = &prompt.owner else { return true };
        let promised = serving.decodings.iter().map(Decoding::promised).sum::<u64>()
            + self.prompts.iter().map(Prompt::promised).sum::<u64>();
        let needed = owner.state_bytes(request.positions(), request.cache_options()).saturating_add(promised);
        let missing = needed.saturating_sub(free());
        // Whoever waits for room asks in every turn, and the system's memory is not free to read.
        missing == 0 || serving.prefixes.make_room(usize::try_from(missing).unwrap_or(usize::MAX)) && needed <= free()
    }
}

/// Bytes that MLX can still take.
fn free() -> u64 {
    let limit = match memory::limit() {
        0 => u64::MAX,
        limit => limit.saturating_sub(memory::active()) as u64,
    };
    // A GPU with memory of its own leaves the system's alone.
    if array::device() == Device::Gpu && !cfg!(target_vendor = "apple") {
        return limit;
    }
    system::memory().map_or(limit, |m| limit.min(m.available + memory::cache() as u64))
}

impl Prompt {
    fn promised(&self) -> u64 {
        match (&self.state, &self.owner) {
            (State::Begun(prefill, _), Some(owner)) => promised(&**owner, &prefill.sequence),
            _ => 0,
        }
    }

    /// Why it ends before its answer, if it does.
    fn ends(&self) -> Option<StopReason> {
        let overdue = match &self.state {
            State::Waiting { request, .. } => request.is_overdue(),
            State::Begun(prefill, _) => prefill.sequence.is_overdue(),
            State::Over => false,
        };
        let cancelled = self.owner.as_ref().is_some_and(|owner| owner.is_cancelled());
        match (cancelled, overdue) {
            (true, _) => Some(StopReason::Cancelled),
            (_, true) => Some(StopReason::Timeout),
            _ => None,
        }
    }

    /// A chunk of the prompt. Returns whether there is more to do here; at the end it is decoded, or over.
    fn step(&mut self, serving: &mut Serving) -> bool {
        self.try_step(serving).unwrap_or_else(|error| {
            self.state = State::Over;
            self.tell(|owner| owner.end(Err(error)))
        })
    }

    /// Frees the state first: whoever waits may look at memory at once.
    fn tell(&mut self, end: impl FnOnce(Box<dyn Owner>)) -> bool {
        if let Some(owner) = self.owner.take() {
            end(owner);
        }
        false
    }

    /// Ends it before the first token. What was processed of the prompt is kept.
    fn end_early(&mut self, reason: StopReason, serving: &mut Serving) -> bool {
        let Some(owner) = &mut self.owner else { return false };
        let stats = match std::mem::replace(&mut self.state, State::Over) {
            State::Waiting { request, .. } => Sequence::new(*request).end(reason, &mut |event| owner.event(event)),
            State::Begun(prefill, trail) => {
                let Prefill { mut sequence, cache, .. } = *prefill;
                let stats = sequence.end(reason, &mut |event| owner.event(event));
                serving.prefixes.keep(trail, sequence.prompt(), cache);
                stats
            }
            State::Over => return false,
        };
        self.tell(|owner| owner.end(Ok(stats)))
    }

    fn try_step(&mut self, serving: &mut Serving) -> Result<bool> {
        if let Some(reason) = self.ends() {
            return Ok(self.end_early(reason, serving));
        }
        let Some(owner) = &mut self.owner else { return Ok(false) };
        let network: Rc<dyn LanguageModel> = serving.model(owner.model())?;
        if matches!(self.state, State::Waiting { .. })
            && let State::Waiting { request, .. } = std::mem::replace(&mut self.state, State::Over)
        {
            let mut prefill = Box::new(Prefill::new(network.clone(), *request)?);
            let trail = serving.prefixes.resume(owner.model(), &mut prefill)?;
            self.state = State::Begun(prefill, trail);
        }
        let State::Begun(prefill, trail) = &mut self.state else { return Ok(false) };
        serving.prefixes.relieve();
        let until = trail.next(prefill.sequence.processed());
        let done = prefill.advance(until, serving, &mut |event| owner.event(event))?;
        trail.mark(&mut prefill.cache)?;
        if !done {
            return Ok(true);
        }
        if !prefill.sequence.wants_more(0) {
            return Ok(self.end_early(StopReason::Length, serving));
        }
        if let (State::Begun(prefill, trail), Some(owner)) =
            (std::mem::replace(&mut self.state, State::Over), self.owner.take())
        {
            let Prefill { sequence, cache, .. } = *prefill;
            serving.decode(network, Stream { sequence, owner, trail }, cache);
        }
        Ok(false)
    }
}
