use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::dry::Dry;
use super::*;
use crate::ErrorKind;
use crate::generate::GenerateOptions;

const NEG_INF: f32 = f32::NEG_INFINITY;

/// A source of test data that is the same everywhere.
struct Gen(ChaCha12Rng);

impl Gen {
    fn new(seed: u64) -> Self {
        Gen(rng(seed))
    }

    fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * uniform(&mut self.0)
    }

    fn below(&mut self, n: usize) -> usize {
        (uniform(&mut self.0) * n as f64) as usize
    }

    fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Roughly normal logits; sometimes in coarse steps (ties), sometimes with banned tokens.
    fn logits(&mut self, n: usize) -> Vec<f32> {
        let scale = self.one_of(&[0.3, 1.0, 3.0, 8.0]);
        let step = self.one_of(&[0.0, 0.0, 0.25]);
        let banned = self.one_of(&[0.0, 0.0, 0.2]);
        let mut logits: Vec<f32> = (0..n)
            .map(|_| {
                let x = scale * ((0..12).map(|_| self.uniform(0.0, 1.0)).sum::<f64>() - 6.0);
                let x = if step > 0.0 { (x / step).round() * step } else { x };
                if self.uniform(0.0, 1.0) < banned { NEG_INF } else { x as f32 }
            })
            .collect();
        if logits.iter().all(|&x| x == NEG_INF) {
            logits[0] = 0.0;
        }
        logits
    }
}

fn sampler(params: SamplingParams, vocab_size: usize) -> Sampler {
    Sampler::new(&params, vocab_size, &TokenSets::default()).unwrap()
}

/// What a request in JSON comes to.
fn params(json: &str) -> SamplingParams {
    serde_json::from_str::<GenerateOptions>(json).unwrap().sampling()
}

fn hot() -> SamplingParams {
    SamplingParams { temperature: 1.0, seed: Some(1), ..Default::default() }
}

fn support(params: SamplingParams, logits: &[f32]) -> Vec<u32> {
    let mut sampler = sampler(params, logits.len());
    sampler.distribution(&mut logits.to_vec(), &[]).unwrap().iter().map(|&(token, _)| token).collect()
}

/// Plain softmax; pairs of token and probability, without the banned ones.
fn naive_softmax(logits: &[f32], temperature: f64) -> Vec<(u32, f64)> {
    let exps: Vec<f64> = logits.iter().map(|&x| (f64::from(x) / temperature).exp()).collect();
    let sum: f64 = exps.iter().sum();
    exps.iter().enumerate().filter(|(i, _)| logits[*i] > NEG_INF).map(|(i, &e)| (i as u32, e / sum)).collect()
}

fn renormalised(kept: impl Iterator<Item = (u32, f64)>) -> Vec<(u32, f64)> {
    let mut kept: Vec<_> = kept.collect();
    let sum: f64 = kept.iter().map(|k| k.1).sum();
    kept.iter_mut().for_each(|k| k.1 /= sum);
    kept.sort_unstable_by_key(|k| k.0);
    kept
}

#[track_caller]
fn assert_same(got: &[(u32, f32)], want: &[(u32, f64)], what: &dyn std::fmt::Debug) {
    let tokens = |i: usize| (got.get(i).map(|g| g.0), want.get(i).map(|w| w.0));
    for i in 0..got.len().max(want.len()) {
        let (g, w) = tokens(i);
        assert_eq!(g, w, "support differs at {i}: {what:?}\n got {got:?}\nwant {want:?}");
        let (g, w) = (f64::from(got[i].1), want[i].1);
        assert!((g - w).abs() <= 1e-6 + 2e-5 * w, "probability of {}: {g}, want {w}: {what:?}", got[i].0);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Goldens

#[derive(Debug, Deserialize)]
struct Case {
    params: GenerateOptions,
    history: Vec<u32>,
    excluded: Vec<u32>,
    logits: Vec<Option<f32>>,
    logprobs: Vec<Option<f32>>,
    expected: Vec<(u32, f64)>,
}

#[derive(Deserialize)]
struct Draws {
    seed: String,
    words: Vec<String>,
}

fn golden<T: serde::de::DeserializeOwned>(name: &str) -> Vec<T> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/sampling").join(name);
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

fn check_against_mlx_lm(name: &str) {
    let cases: Vec<Case> = golden(name);
    assert!(cases.len() >= 40);
    for (i, case) in cases.iter().enumerate() {
        let tokens = TokenSets { xtc_excluded: case.excluded.clone(), ..Default::default() };
        let mut sampler = Sampler::new(&case.params.sampling(), case.logits.len(), &tokens).unwrap();
        let mut logits: Vec<f32> = case.logits.iter().map(|x| x.unwrap_or(NEG_INF)).collect();
        let what = (name, i, &case.params);
        assert_same(sampler.distribution(&mut logits, &case.history).unwrap(), &case.expected, &what);

        let stats = softmax::scan(&logits).unwrap();
        for (&logit, want) in logits.iter().zip(&case.logprobs) {
            match want {
                Some(want) => assert!((stats.logprob(logit) - want).abs() <= 1e-4, "{what:?}"),
                None => assert_eq!(logit, NEG_INF, "{what:?}"),
            }
        }
    }
}

#[test]
fn processors_match_mlx_lm() {
    check_against_mlx_lm("processors.json");
}

#[test]
fn single_filters_match_mlx_lm() {
    check_against_mlx_lm("filters.json");
}

#[test]
fn chains_match_mlx_lm() {
    check_against_mlx_lm("chains.json");
}

#[test]
fn random_numbers_are_chacha12() {
    for draws in golden::<Draws>("draws.json") {
        let mut rng = rng(draws.seed.parse().unwrap());
        for word in draws.words {
            let word: u64 = word.parse().unwrap();
            assert_eq!(uniform(&mut rng), (word >> 11) as f64 * 2f64.powi(-53));
        }
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// The formulas of the papers, written out

/// The last items of a descending order that three rules keep, over the whole sorted vocabulary.
fn naive_chain(logits: &[f32], params: &SamplingParams) -> Vec<(u32, f64)> {
    let mut sorted = naive_softmax(logits, 1.0);
    sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let best = sorted[0].1;
    if params.top_p > 0.0 && params.top_p < 1.0 {
        let mut above = 0.0;
        let last = sorted.iter().take_while(|t| (above < f64::from(params.top_p), above += t.1).0).last().unwrap().1;
        sorted.retain(|t| t.1 >= last);
    }
    let keep = params.min_tokens_to_keep as usize;
    let mut rank = 0;
    sorted.retain(|t| (rank += 1, rank <= keep || t.1 >= f64::from(params.min_p) * best).1);
    if params.top_k > 0 {
        sorted.truncate(params.top_k as usize);
    }
    let temperature = f64::from(params.temperature);
    renormalised(sorted.into_iter().map(|(token, p)| (token, p.powf(1.0 / temperature))))
}

#[test]
fn partial_selection_equals_sorting() {
    let mut data = Gen::new(10);
    for case in 0..1500 {
        let size = data.one_of(&[1, 2, 31, 100, 700, if case % 10 == 0 { 5000 } else { 64 }]);
        let logits = data.logits(size);
        let params = SamplingParams {
            temperature: data.one_of(&[0.6, 1.0, 1.3]),
            top_k: data.one_of(&[0, 0, 1, 3, 40, 100_000]),
            // Not round, so that no sum of tied probabilities meets it.
            top_p: data.one_of(&[1.0, 0.0, 0.1234, 0.5432, 0.91357, 0.999_123]),
            min_p: data.one_of(&[0.0, 0.0, 0.0123, 0.1234]),
            min_tokens_to_keep: data.one_of(&[1, 1, 5]),
            ..Default::default()
        };
        let want = naive_chain(&logits, &params);
        let mut sampler = sampler(params.clone(), size);
        assert_same(sampler.distribution(&mut logits.clone(), &[]).unwrap(), &want, &(case, params));
    }
}

#[test]
fn typical_matches_its_definition() {
    let mut data = Gen::new(11);
    for case in 0..3000 {
        let size = 1 + data.below(150);
        let logits = data.logits(size);
        let typical_p = data.uniform(0.05, 0.99) as f32;
        let keep = data.one_of(&[1, 1, 4]);

        let all = naive_softmax(&logits, 1.0);
        let entropy: f64 = all.iter().map(|&(_, p)| if p > 0.0 { -p * p.ln() } else { 0.0 }).sum();
        // From the logit, since the logarithm of a tiny probability would lose ties.
        let mass: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        let mut scored: Vec<_> =
            all.iter().map(|&(t, p)| ((mass.ln() - f64::from(logits[t as usize]) - entropy).abs(), t, p)).collect();
        scored.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut sum = 0.0;
        let enough = |(i, s): (usize, &(f64, u32, f64))| {
            sum += s.2;
            sum > f64::from(typical_p) && i + 1 >= keep
        };
        let last = scored.iter().enumerate().position(enough).unwrap_or(scored.len() - 1);
        let bound = scored[last].0;
        let want = renormalised(scored.iter().filter(|s| s.0 <= bound + 1e-9).map(|s| (s.1, s.2)));

        let params = SamplingParams { typical_p, min_tokens_to_keep: keep as u32, ..hot() };
        let mut sampler = sampler(params, size);
        let got = sampler.distribution(&mut logits.clone(), &[]).unwrap();
        assert_same(got, &want, &(case, typical_p, keep, &logits));
    }
}

#[test]
fn top_n_sigma_matches_its_definition() {
    let mut data = Gen::new(12);
    for case in 0..3000 {
        let size = 1 + data.below(150);
        let logits = data.logits(size);
        let n = data.uniform(0.05, 4.0) as f32;
        let temperature = data.one_of(&[0.5, 1.0, 2.0]);

        let finite: Vec<f64> = logits.iter().filter(|x| x.is_finite()).map(|&x| f64::from(x)).collect();
        let mean = finite.iter().sum::<f64>() / finite.len() as f64;
        let deviation = (finite.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / finite.len() as f64).sqrt();
        let floor = finite.iter().copied().fold(f64::MIN, f64::max) - f64::from(n) * deviation;
        let all = naive_softmax(&logits, f64::from(temperature));
        let want = renormalised(all.into_iter().filter(|t| f64::from(logits[t.0 as usize]) >= floor));

        let params = SamplingParams { top_n_sigma: n, temperature, ..hot() };
        let mut sampler = sampler(params, size);
        assert_same(sampler.distribution(&mut logits.clone(), &[]).unwrap(), &want, &(case, n));
    }
}

/// Each filter sees what the ones before it left: the documented order.
#[test]
fn the_order_of_the_filters() {
    // Probabilities 0.4 0.3 0.2 0.1. Sigma keeps three tokens, of which 0.4 and 0.3 then are 7/9 of the mass.
    let logits = [0.4f32, 0.3, 0.2, 0.1].map(f32::ln);
    let three = SamplingParams { top_n_sigma: 1.5, ..hot() };
    assert_eq!(support(three.clone(), &logits), [0, 1, 2]);
    assert_eq!(support(SamplingParams { top_p: 0.75, ..three.clone() }, &logits), [0, 1]);
    assert_eq!(support(SamplingParams { top_p: 0.75, ..hot() }, &logits), [0, 1, 2]);
    // XTC removes 0.4 and 0.3 and leaves 0.2, the least above its threshold; top-k chooses from the rest.
    let xtc = SamplingParams { xtc_probability: 1.0, xtc_threshold: 0.15, top_k: 1, ..hot() };
    assert_eq!(support(xtc, &logits), [2]);
    // The surprise of 0.3 is nearest to the entropy (1.28), then 0.2: the top token is gone before min-p looks.
    let typical = SamplingParams { typical_p: 0.45, ..hot() };
    assert_eq!(support(typical.clone(), &logits), [1, 2]);
    assert_eq!(support(SamplingParams { min_p: 0.6, ..typical }, &logits), [1, 2]);
    assert_eq!(support(SamplingParams { min_p: 0.6, ..hot() }, &logits), [0, 1]);
}

#[test]
fn mirostat_matches_its_definition() {
    let mut data = Gen::new(13);
    for case in 0..300 {
        let size = 1 + data.below(200);
        let tau = data.uniform(0.2, 6.0) as f32;
        let eta = data.uniform(0.0, 1.0) as f32;
        let temperature = data.one_of(&[1.0, 0.7, 1.6]);
        // The truncation filters must make no difference.
        let params =
            SamplingParams { temperature, top_k: 1, top_p: 0.01, mirostat_tau: tau, mirostat_eta: eta, ..hot() };
        let mut sampler = sampler(params, size);
        let mut mu = 2.0 * f64::from(tau);
        for step in 0..20 {
            let logits = data.logits(size);
            let mut sorted = naive_softmax(&logits, f64::from(temperature));
            sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let cut = sorted.iter().position(|t| -t.1.log2() > mu).unwrap_or(sorted.len()).max(1);
            let want = renormalised(sorted.into_iter().take(cut));
            let what = (case, step, tau, eta);
            assert_same(sampler.distribution(&mut logits.clone(), &[]).unwrap(), &want, &what);

            let token = sampler.sample(&mut logits.clone(), &[]).unwrap().token;
            let probability = want.iter().find(|w| w.0 == token).expect("the token is within the cut").1;
            mu -= f64::from(eta) * (-probability.log2() - f64::from(tau));
            let got = sampler.mirostat.as_ref().unwrap().mu();
            assert!((got - mu).abs() < 1e-3, "{what:?}: mu is {got}, want {mu}");
            mu = got;
        }
    }
}

/// DRY by comparing every pair of places.
fn naive_dry(logits: &mut [f32], history: &[u32], params: &SamplingParams, breakers: &[Vec<u32>]) {
    let window = if params.dry_penalty_last_n == 0 { history.len() } else { params.dry_penalty_last_n as usize };
    let tokens = &history[history.len() - window.min(history.len())..];
    let n = tokens.len();
    let mut limit = n;
    for start in 0..n {
        let ends = breakers.iter().filter(|b| tokens[start..].starts_with(b)).map(|b| start + b.len());
        limit = ends.max().map_or(limit, |end| n - end);
    }
    if limit < params.dry_allowed_length as usize {
        return;
    }
    let mut longest = BTreeMap::new();
    for next in 1..n {
        let length = (0..next).take_while(|&j| tokens[next - 1 - j] == tokens[n - 1 - j]).count().min(limit);
        let best = longest.entry(tokens[next]).or_insert(0);
        *best = length.max(*best);
    }
    for (token, length) in longest {
        if length >= params.dry_allowed_length as usize && !breakers.contains(&vec![token]) {
            let power = f64::from(params.dry_base).powi((length - params.dry_allowed_length as usize) as i32);
            logits[token as usize] -= (f64::from(params.dry_multiplier) * power) as f32;
        }
    }
}

#[test]
fn dry_matches_comparing_everything() {
    let mut data = Gen::new(14);
    let mut changed = 0;
    for case in 0..4000 {
        let alphabet = 2 + data.below(6);
        let length = data.below(60);
        let mut history: Vec<u32> = (0..length).map(|_| data.below(alphabet) as u32).collect();
        if length > 8 && case % 3 == 0 {
            let (from, count) = (data.below(length / 2), data.below(length / 2));
            history.extend_from_within(from..from + count);
        }
        let params = SamplingParams {
            dry_multiplier: data.uniform(0.1, 2.0) as f32,
            dry_base: data.one_of(&[1.0, 1.1, 1.75]),
            dry_allowed_length: data.below(5) as u32,
            dry_penalty_last_n: data.one_of(&[0, 0, 1, 2, 7, 30, 1000]),
            ..Default::default()
        };
        let count = data.below(3);
        let mut breaker = || (0..=data.below(3)).map(|_| data.below(alphabet) as u32).collect::<Vec<_>>();
        let breakers: Vec<_> = (0..count).map(|_| breaker()).collect();

        let mut want = vec![0f32; alphabet];
        naive_dry(&mut want, &history, &params, &breakers);
        let mut got = vec![0f32; alphabet];
        Dry::new(&params, &breakers).unwrap().unwrap().apply(&mut got, &history);
        for (g, w) in got.iter().zip(&want) {
            let close = (g - w).abs() <= 1e-4 * w.abs() + 1e-6;
            assert!(close, "{case}: {got:?}, want {want:?}\n{params:?} {breakers:?} {history:?}");
        }
        changed += usize::from(got.iter().any(|&x| x != 0.0));
    }
    assert!(changed > 1500, "only {changed} cases tested a penalty");
}

#[test]
fn dry_survives_long_and_strange_histories() {
    let params = SamplingParams { dry_base: 4.0, dry_multiplier: 3.0, ..Default::default() };
    let mut dry = Dry::new(&params, &[]).unwrap().unwrap();
    // One token over and over: quadratic in a naive search, and an exponent far beyond an f32.
    let history = vec![1u32; 100_000];
    let mut logits = [0f32; 3];
    dry.apply(&mut logits, &history);
    assert!(logits[1].is_finite() && logits[1] < -1e37, "{logits:?}");
    // Ids outside the vocabulary are nobody's logit.
    dry.apply(&mut [0f32; 3], &[9, 9, 9, u32::MAX, 9, 9]);
    dry.apply(&mut [0f32; 3], &[]);
    for breaker in [vec![], vec![0; 22]] {
        assert_eq!(Dry::new(&params, &[breaker]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }
    assert!(Dry::new(&SamplingParams { dry_multiplier: 0.0, ..params.clone() }, &[]).unwrap().is_none());
    assert!(Dry::new(&SamplingParams { dry_multiplier: 0.0, ..params }, &[]).unwrap().is_none());
}

#[test]
fn breakers_are_found_inside_and_across_tokens() {
    let vocabulary = ["a", "b", "ab", "xa", "xab!", "bc", "c", "\u{e9}", ""];
    let vocabulary = || vocabulary.iter().enumerate().map(|(i, s)| (i as u32, s.as_bytes()));
    let encode = |text: &str| Ok(text.bytes().map(|b| 100 + u32::from(b - b'a')).collect());
    let found = |text: &str| resolve_breakers(&[text.to_owned()], vocabulary(), encode).unwrap();
    assert_eq!(found("ab"), [vec![0, 101], vec![2], vec![3, 101], vec![4]]);
    assert_eq!(found("abc"), [vec![0, 101, 102], vec![2, 102], vec![3, 101, 102]]);
    assert_eq!(found("z"), Vec::<Vec<u32>>::new());
    let long = "a".repeat(40);
    assert_eq!(found(&long).iter().map(Vec::len).max(), Some(21));
    let failing = |_: &str| Err(Error::tokenizer("no"));
    assert!(resolve_breakers(&["ab".to_owned()], vocabulary(), failing).is_err());
}

// ---------------------------------------------------------------------------------------------------------------------
// Draws

/// Pearson's statistic; `draws` of each token against its probability.
fn chi_square(counts: &[usize], distribution: &[(u32, f32)]) -> f64 {
    let total: usize = counts.iter().sum();
    let term = |&(token, p): &(u32, f32)| {
        let want = f64::from(p) * total as f64;
        (counts[token as usize] as f64 - want).powi(2) / want
    };
    distribution.iter().map(term).sum()
}

#[test]
fn frequencies_follow_the_distribution() {
    let mut data = Gen::new(15);
    let logits: Vec<f32> = (0..40).map(|_| data.uniform(-1.5, 1.5) as f32).collect();
    // The 99.9% points of chi-square with 39, 14 and (at most) 39 degrees of freedom.
    let variants = [
        (hot(), 72.1),
        (SamplingParams { top_k: 15, temperature: 0.7, ..hot() }, 36.2),
        (SamplingParams { top_p: 0.9, temperature: 1.5, ..hot() }, 72.1),
    ];
    for (params, limit) in variants {
        let mut sampler = sampler(params, logits.len());
        let distribution = sampler.distribution(&mut logits.clone(), &[]).unwrap().to_vec();
        let mut counts = vec![0; logits.len()];
        for _ in 0..20_000 {
            counts[sampler.sample(&mut logits.clone(), &[]).unwrap().token as usize] += 1;
        }
        let outside = counts.iter().enumerate().filter(|(i, _)| distribution.iter().all(|d| d.0 as usize != *i));
        assert_eq!(outside.map(|(_, n)| n).sum::<usize>(), 0);
        let statistic = chi_square(&counts, &distribution);
        assert!(statistic < limit, "{statistic} is not below {limit}");
    }
}

#[test]
fn a_token_without_probability_is_never_picked() {
    let candidates = [(3, 0.0), (4, 0.25), (5, 0.75), (6, 0.0)];
    for (at, want) in [(0.0, 4), (0.2499, 4), (0.2501, 5), (1.0 - f64::EPSILON / 2.0, 5), (1.0, 5)] {
        assert_eq!(pick(&candidates, at).0, want, "{at}");
    }
}

#[test]
fn xtc_runs_as_often_as_asked() {
    let logits = [3.0f32, 2.5, 0.0, -1.0];
    let params = SamplingParams { xtc_probability: 0.3, ..hot() };
    let mut sampler = sampler(params, logits.len());
    let mut runs = 0;
    for _ in 0..10_000 {
        runs += usize::from(sampler.distribution(&mut logits.clone(), &[]).unwrap().len() == 3);
    }
    // Four standard deviations.
    assert!((runs as f64 - 3000.0).abs() < 4.0 * (10_000.0 * 0.3 * 0.7f64).sqrt(), "{runs}");
}

#[test]
fn equal_seeds_give_equal_tokens() {
    let run = |seed: Option<u64>| {
        let params =
            SamplingParams { seed, top_p: 0.95, xtc_probability: 0.5, xtc_threshold: 0.05, temperature: 1.2, ..hot() };
        let mut sampler = sampler(params, 500);
        let mut data = Gen::new(16);
        let tokens: Vec<u32> = (0..60).map(|_| sampler.sample(&mut data.logits(500), &[]).unwrap().token).collect();
        (tokens, sampler.seed())
    };
    assert_eq!(run(Some(7)), run(Some(7)));
    assert_ne!(run(Some(7)).0, run(Some(8)).0);
    let (tokens, seed) = run(None);
    assert_ne!(run(None).1, seed);
    assert_eq!(run(Some(seed)).0, tokens);
}

/// The same seed must mean the same text in every release: these tokens may never change.
#[test]
fn the_draws_of_a_seed_are_fixed() {
    let logits: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1000) as f32 / 125.0).collect();
    let draw = |params: SamplingParams| {
        let mut sampler = sampler(params, logits.len());
        (0..8).map(|_| sampler.sample(&mut logits.clone(), &[]).unwrap().token).collect::<Vec<_>>()
    };
    let seeded = SamplingParams { seed: Some(42), ..hot() };
    // From the words of draws.json and the cumulative probabilities, in double precision.
    let exps: Vec<f64> = logits.iter().map(|&x| f64::from(x).exp()).collect();
    let total: f64 = exps.iter().sum();
    let draws: Vec<Draws> = golden("draws.json");
    let words = &draws.iter().find(|d| d.seed == "42").unwrap().words;
    let expect = |word: &String| {
        let at = (word.parse::<u64>().unwrap() >> 11) as f64 * 2f64.powi(-53) * total;
        let mut sum = 0.0;
        exps.iter().position(|e| (sum += e, sum > at).1).unwrap() as u32
    };
    assert_eq!(draw(seeded.clone()), words[..8].iter().map(expect).collect::<Vec<_>>());
    // With XTC possible, the first word of each pair decides on it.
    let with_xtc = draw(SamplingParams { xtc_probability: 1e-9, ..seeded });
    assert_eq!(with_xtc[..6], words[..12].chunks(2).map(|pair| expect(&pair[1])).collect::<Vec<_>>());
}

#[test]
fn no_buffer_grows_after_the_first_token() {
    let mut data = Gen::new(17);
    let logits: Vec<Vec<f32>> = (0..20).map(|_| data.logits(2000)).collect();
    for params in [
        SamplingParams { top_p: 0.9, ..hot() },
        SamplingParams { top_k: 50, min_p: 0.02, ..hot() },
        SamplingParams { typical_p: 0.8, ..hot() },
        hot(),
    ] {
        let mut sampler = sampler(params, 2000);
        // Equal logits need all the room there can be.
        sampler.sample(&mut [0.0; 2000], &[]).unwrap();
        let room = (sampler.candidates.capacity(), sampler.scratch.capacity());
        for logits in &logits {
            sampler.sample(&mut logits.clone(), &[]).unwrap();
        }
        assert_eq!(room, (sampler.candidates.capacity(), sampler.scratch.capacity()));
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Results, parameters, edges

#[test]
fn log_probabilities_are_those_before_truncation() {
    let logits = [0.1f32, 0.2, 0.4, 0.2, 0.0999].map(f32::ln);
    for temperature in [0.0, 0.3] {
        let params = SamplingParams { temperature, top_k: 1, logprobs: Some(3), ..hot() };
        let mut sampler = sampler(params, 5);
        let got = sampler.sample(&mut logits.clone(), &[]).unwrap();
        assert_eq!(got.token, 2);
        assert!((got.logprob - (0.4f32 / 0.9999).ln()).abs() < 1e-6);
        // Best first, and of equal ones the lower id.
        assert_eq!(got.top.iter().map(|t| t.0).collect::<Vec<_>>(), [2, 1, 3]);
        assert_eq!(got.top[0].1, got.logprob);
    }
    // After the processors: a banned token is not reported.
    let bias = BTreeMap::from([(2, NEG_INF)]);
    let params = SamplingParams { logit_bias: bias, logprobs: Some(99), ..Default::default() };
    let got = sampler(params, 5).sample(&mut logits.clone(), &[]).unwrap();
    assert_eq!((got.token, got.top.len()), (1, 4));
    assert!(sampler(hot(), 5).sample(&mut logits.clone(), &[]).unwrap().top.is_empty());
}

#[test]
fn what_the_caller_can_skip() {
    let of = |json: &str| {
        let sampler = sampler(params(json), 100);
        (sampler.is_greedy(), sampler.needs_history(), sampler.wants_logprobs())
    };
    assert_eq!(of("{}"), (true, false, false));
    assert_eq!(
        of(r#"{"top_p": 0.5, "min_p": 0.1, "repetition_penalty": 1.0, "mirostat_tau": 5}"#),
        (true, false, false)
    );
    assert_eq!(of(r#"{"repetition_penalty": 0}"#), (true, false, false));
    assert_eq!(of(r#"{"logprobs": 2, "logit_bias": {"3": 0.0}}"#), (true, false, true));
    assert_eq!(of(r#"{"temperature": 0.1}"#), (false, false, false));
    assert_eq!(of(r#"{"logit_bias": {"3": 1}}"#), (false, false, false));
    assert_eq!(of(r#"{"repetition_penalty": 1.1}"#), (false, true, false));
    assert_eq!(of(r#"{"presence_penalty": 1.1}"#), (false, true, false));
    assert_eq!(of(r#"{"frequency_penalty": -1.1}"#), (false, true, false));
    assert_eq!(of(r#"{"dry_multiplier": 0.8}"#), (false, true, false));
    assert_eq!(of(r#"{"dry_multiplier": 0, "dry_base": 2}"#), (true, false, false));
}

#[test]
fn parameters_read_and_write_as_json() {
    let default = params("{}");
    assert_eq!(default, SamplingParams::default());
    assert!(default.validate().is_ok());
    let request = GenerateOptions {
        top_k: Some(3),
        logit_bias: BTreeMap::from([(7, -2.5)]),
        dry_sequence_breakers: Some(vec![]),
        seed: Some(u64::MAX),
        ..Default::default()
    };
    let text = serde_json::to_string(&request).unwrap();
    assert_eq!(serde_json::from_str::<GenerateOptions>(&text).unwrap(), request);
    let want = SamplingParams {
        top_k: 3,
        logit_bias: request.logit_bias.clone(),
        dry_sequence_breakers: vec![],
        seed: request.seed,
        ..Default::default()
    };
    assert_eq!(request.sampling(), want);
    for wrong in [r#"{"temprature": 1}"#, r#"{"top_k": -1}"#, r#"{"stop": "a"}"#, r#"{"logit_bias": {"a": 1}}"#] {
        assert!(serde_json::from_str::<GenerateOptions>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn validation_names_the_field_and_the_value() {
    type Change = fn(&mut SamplingParams);
    let table: [(Change, &str, &str); 29] = [
        (|p| p.temperature = f32::NAN, "temperature", "NaN"),
        (|p| p.temperature = -0.5, "temperature", "-0.5"),
        (|p| p.temperature = f32::INFINITY, "temperature", "inf"),
        (|p| p.top_p = 1.5, "top_p", "1.5"),
        (|p| p.top_p = -0.1, "top_p", "-0.1"),
        (|p| p.top_p = f32::NAN, "top_p", "NaN"),
        (|p| p.min_p = 1.25, "min_p", "1.25"),
        (|p| p.min_p = f32::NAN, "min_p", "NaN"),
        (|p| p.min_tokens_to_keep = 0, "min_tokens_to_keep", "0"),
        (|p| p.typical_p = 0.0, "typical_p", "0"),
        (|p| p.typical_p = 1.1, "typical_p", "1.1"),
        (|p| p.top_n_sigma = -1.0, "top_n_sigma", "-1"),
        (|p| p.xtc_probability = 2.0, "xtc_probability", "2"),
        (|p| p.xtc_threshold = 0.6, "xtc_threshold", "0.6"),
        (|p| p.xtc_threshold = f32::NAN, "xtc_threshold", "NaN"),
        (|p| p.repetition_penalty = -1.5, "repetition_penalty", "-1.5"),
        (|p| p.presence_penalty = f32::NAN, "presence_penalty", "NaN"),
        (|p| p.frequency_penalty = f32::INFINITY, "frequency_penalty", "inf"),
        (|p| p.logit_bias = BTreeMap::from([(5, f32::NAN)]), "logit_bias[5]", "NaN"),
        (|p| p.logit_bias = BTreeMap::from([(5, f32::INFINITY)]), "logit_bias[5]", "inf"),
        (|p| p.dry_multiplier = -1.0, "dry_multiplier", "-1"),
        (|p| p.dry_base = 0.5, "dry_base", "0.5"),
        (|p| p.dry_base = f32::NAN, "dry_base", "NaN"),
        (|p| p.dry_sequence_breakers = vec![String::new()], "dry_sequence_breakers[0]", "0"),
        (|p| p.dry_sequence_breakers = vec!["x".repeat(41)], "dry_sequence_breakers[0]", "41"),
        (|p| p.mirostat_tau = -1.0, "mirostat_tau", "-1"),
        (|p| p.mirostat_tau = f32::NAN, "mirostat_tau", "NaN"),
        (|p| p.mirostat_eta = -0.1, "mirostat_eta", "-0.1"),
        // Only the vocabulary tells that this is wrong.
        (|p| p.logit_bias = BTreeMap::from([(10, 1.0)]), "logit_bias names token 10", "10 tokens"),
    ];
    for (i, (change, field, value)) in table.into_iter().enumerate() {
        let mut params = SamplingParams::default();
        change(&mut params);
        assert_eq!(params.validate().is_ok(), i == 28, "{field} {value}");
        let error = Sampler::new(&params, 10, &TokenSets::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(field) && error.message().ends_with(value), "{error}");
    }
    assert!(Sampler::new(&SamplingParams::default(), 0, &TokenSets::default()).is_err());
}

#[test]
fn broken_logits_are_errors_and_change_nothing() {
    let failing = |logits: &[f32]| {
        let mut sampler = sampler(hot(), 20);
        let error = sampler.sample(&mut logits.to_vec(), &[]).unwrap_err();
        assert_eq!(sampler.rng, rng(1));
        (error.kind(), error.to_string())
    };
    for place in [0, 15, 16, 19] {
        let mut logits = [1.0; 20];
        logits[place] = f32::NAN;
        let (kind, message) = failing(&logits);
        assert!(kind == ErrorKind::Mlx && message.contains("NaN") && message.contains(&place.to_string()), "{message}");
    }
    let mut logits = [NEG_INF; 20];
    assert!(failing(&logits).1.contains("every logit is minus infinity"));
    // What the caller has banned is the caller's error, and what the model excludes is not.
    let ban = |tokens: std::ops::Range<u32>| SamplingParams {
        logit_bias: tokens.map(|token| (token, NEG_INF)).collect(),
        ..hot()
    };
    for (banned, excluded) in [(0..20, 0), (3..20, 3)] {
        let mut logits = [1.0; 20];
        logits[..excluded].fill(NEG_INF);
        let error = sampler(ban(banned), 20).sample(&mut logits, &[]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("logit_bias leaves no token"), "{error}");
    }
    assert_eq!(sampler(ban(0..19), 20).sample(&mut [1.0; 20], &[]).unwrap().token, 19);
    logits[3] = f32::INFINITY;
    assert!(failing(&logits).1.contains("infinite logit, for token 3"));
    assert_eq!(failing(&[1.0; 19]).0, ErrorKind::InvalidArgument);
}

#[test]
fn edges() {
    // One token.
    for json in
        ["{}", r#"{"temperature": 1, "top_p": 0.1, "min_p": 1, "top_k": 5, "typical_p": 0.1, "top_n_sigma": 1}"#]
    {
        let mut one = sampler(params(json), 1);
        assert_eq!(one.sample(&mut [-3.0], &[]).unwrap(), Sampled { token: 0, logprob: 0.0, top: vec![] });
    }
    let logits = [1.0f32, 2.0, 3.0, NEG_INF];
    // Off, or more than there is.
    for params in [
        hot(),
        SamplingParams { top_k: 4, ..hot() },
        SamplingParams { top_k: u32::MAX, ..hot() },
        SamplingParams { top_p: 0.0, ..hot() },
        SamplingParams { top_p: 1.0, typical_p: 1.0, ..hot() },
        SamplingParams { min_tokens_to_keep: u32::MAX, min_p: 0.9, typical_p: 0.1, ..hot() },
        SamplingParams { top_n_sigma: f32::MAX, ..hot() },
        SamplingParams { temperature: f32::MAX, ..hot() },
    ] {
        assert_eq!(support(params.clone(), &logits), [0, 1, 2], "{params:?}");
    }
    // Only the best.
    for params in [
        SamplingParams { top_k: 1, ..hot() },
        SamplingParams { top_p: f32::MIN_POSITIVE, ..hot() },
        SamplingParams { min_p: 1.0, ..hot() },
        SamplingParams { top_n_sigma: f32::MIN_POSITIVE, ..hot() },
    ] {
        assert_eq!(support(params.clone(), &logits), [2], "{params:?}");
    }
    // Temperatures at the ends of the range.
    for (temperature, want) in
        [(f32::MIN_POSITIVE, [0.0, 0.0, 1.0]), (1e-45, [0.0, 0.0, 1.0]), (f32::MAX, [1. / 3.; 3])]
    {
        let mut sampler = sampler(SamplingParams { temperature, ..hot() }, 4);
        let got: Vec<f32> = sampler.distribution(&mut logits.clone(), &[]).unwrap().iter().map(|d| d.1).collect();
        assert_eq!(got, want);
        assert!(sampler.sample(&mut logits.clone(), &[]).unwrap().token < 3);
    }
    // Equal logits: the first wins without temperature; ties stay together in a nucleus; top-k takes the lower ids.
    let equal = [0.5f32; 40];
    assert_eq!(support(SamplingParams::default(), &equal), [0]);
    assert_eq!(support(SamplingParams { top_p: 0.01, ..hot() }, &equal).len(), 40);
    assert_eq!(support(SamplingParams { typical_p: 0.01, ..hot() }, &equal).len(), 40);
    assert_eq!(support(SamplingParams { top_n_sigma: 0.5, ..hot() }, &equal).len(), 40);
    assert_eq!(support(SamplingParams { top_k: 3, ..hot() }, &equal), [0, 1, 2]);
    assert_eq!(support(SamplingParams { mirostat_tau: 1e-3, ..hot() }, &equal), [0]);
    // Extreme logits.
    assert_eq!(support(hot(), &[f32::MAX, f32::MIN]).len(), 2);
    assert_eq!(sampler(hot(), 2).sample(&mut [f32::MIN, f32::MAX], &[]).unwrap().token, 1);
}

#[test]
fn windows_of_the_penalties() {
    let run = |json: &str, history: &[u32]| {
        let mut logits = vec![0f32, 2.0, -2.0, 2.0];
        sampler(params(json), 4).prepare(&mut logits, history).unwrap();
        logits
    };
    // As mlx-lm's tokens[-0:], a window of 0 is everything.
    let all = r#"{"repetition_penalty": 2, "repetition_context_size": 0}"#;
    assert_eq!(run(all, &[1, 2, 2, 0, 0]), [0.0, 1.0, -4.0, 2.0]);
    assert_eq!(run(all, &[]), [0.0, 2.0, -2.0, 2.0]);
    assert_eq!(run(r#"{"repetition_penalty": 2, "repetition_context_size": 2}"#, &[1, 2, 3]), [0.0, 2.0, -4.0, 1.0]);
    let presence = r#"{"presence_penalty": 1, "presence_context_size": 3}"#;
    assert_eq!(run(presence, &[1, 3, 3, 2]), [0.0, 2.0, -3.0, 1.0]);
    let frequency = r#"{"frequency_penalty": 1, "frequency_context_size": 3}"#;
    assert_eq!(run(frequency, &[1, 3, 3, 2]), [0.0, 2.0, -3.0, 0.0]);
    // Ids that are no tokens of this vocabulary.
    let both = r#"{"presence_penalty": 1, "frequency_penalty": 1, "repetition_penalty": 2}"#;
    assert_eq!(run(both, &[4, u32::MAX, 3]), [0.0, 2.0, -2.0, -1.0]);
    // The marks are cleared from one token to the next.
    let mut sampler = sampler(params(presence), 2);
    for _ in 0..2 {
        let mut logits = [1.0f32, 0.0];
        sampler.sample(&mut logits, &[0]).unwrap();
        assert_eq!(logits, [0.0, 0.0]);
    }
}

#[test]
fn exponentials_are_accurate() {
    let mut data = Gen::new(18);
    for _ in 0..100_000 {
        let x = data.uniform(-87.0, 1.0) as f32;
        let (got, want) = (f64::from(softmax::exp(x)), f64::from(x).exp());
        assert!((got - want).abs() <= 1.5e-7 * want, "exp({x}) = {got}, want {want}");
    }
    assert_eq!(softmax::exp(0.0), 1.0);
    assert_eq!(softmax::exp(-88.0), 0.0);
    assert_eq!(softmax::exp(NEG_INF), 0.0);
}

// ---------------------------------------------------------------------------------------------------------------------
// On the device

/// Tokens that `choose` gives are those of the host, unless the draw falls within f32's rounding of a border.
#[test]
fn a_device_chooses_what_the_host_chooses() {
    crate::array::set_device(crate::array::Device::Cpu).unwrap();
    let mut gen_ = Gen::new(77);
    let (mut compared, mut near) = (0, 0);
    for round in 0..400u64 {
        let vocabulary = gen_.one_of(&[1, 2, 33, 1000, 5000]);
        let rows = 1 + gen_.below(3);
        let mut all = Vec::new();
        // One random number each, from equal generators.
        let (mut samplers, mut draws) = (Vec::new(), Vec::new());
        for row in 0..rows {
            all.push(gen_.logits(vocabulary));
            let params = SamplingParams {
                temperature: gen_.one_of(&[0.0, 0.3, 1.0, 1.7]),
                top_k: gen_.one_of(&[0, 0, 1, 20, 40]),
                top_p: gen_.one_of(&[1.0, 1.0, 0.5, 0.95]),
                min_p: gen_.one_of(&[0.0, 0.0, 0.05, 0.4]),
                seed: Some(round * 10 + row as u64),
                ..Default::default()
            };
            draws.push(sampler(params.clone(), vocabulary).draw());
            samplers.push(sampler(params, vocabulary));
        }
        let shape = [rows as i32, vocabulary as i32];
        let logits = crate::array::Array::from_slice(&all.concat(), &shape).unwrap();
        let tokens: Vec<u32> = choose(&logits, &draws).unwrap().to_vec().unwrap();
        for ((sampler, logits), token) in samplers.iter_mut().zip(&mut all).zip(tokens) {
            let at = uniform(&mut sampler.rng.clone());
            let candidates = sampler.distribution(logits, &[]).unwrap().to_vec();
            let want = if sampler.temperature == 0.0 { candidates[0].0 } else { pick(&candidates, at).0 };
            compared += 1;
            if token != want {
                let neighbours = [pick(&candidates, (at - 1e-5).max(0.0)).0, pick(&candidates, (at + 1e-5).min(1.0)).0];
                assert!(
                    neighbours.contains(&token),
                    "{token} instead of {want} of {} tokens, round {round}",
                    candidates.len()
                );
                near += 1;
            }
        }
    }
    assert!(near * 100 < compared, "{near} of {compared} differ");
}

#[test]
fn what_cannot_be_sampled_is_no_token() {
    crate::array::set_device(crate::array::Device::Cpu).unwrap();
    let params = SamplingParams { temperature: 1.0, top_k: 2, seed: Some(1), ..Default::default() };
    for bad in [f32::NAN, f32::INFINITY] {
        let logits = crate::array::Array::from_slice(&[1.0, bad, 2.0, 0.0, 1.0, 2.0], &[2, 3]).unwrap();
        let draws = [sampler(params.clone(), 3).draw(), sampler(params.clone(), 3).draw()];
        let tokens: Vec<u32> = choose(&logits, &draws).unwrap().to_vec().unwrap();
        assert_eq!(tokens[0], 3, "{bad}");
        assert!(tokens[1] < 3);
    }
    let logits = crate::array::Array::from_slice(&[NEG_INF; 3], &[1, 3]).unwrap();
    assert_eq!(choose(&logits, &[sampler(params, 3).draw()]).unwrap().to_vec::<u32>().unwrap(), [3]);
}

#[test]
fn only_simple_sampling_is_drawable() {
    let drawable = |change: &dyn Fn(&mut SamplingParams)| {
        let mut params = hot();
        change(&mut params);
        sampler(params, 10).is_drawable()
    };
    assert!(drawable(&|p| (p.top_k, p.top_p, p.min_p) = (5, 0.9, 0.1)));
    assert!(!drawable(&|p| p.typical_p = 0.9));
    assert!(!drawable(&|p| p.top_n_sigma = 1.0));
    assert!(!drawable(&|p| p.xtc_probability = 0.5));
    assert!(!drawable(&|p| p.min_tokens_to_keep = 2));
    assert!(!drawable(&|p| p.repetition_penalty = 1.1));
    assert!(!drawable(&|p| p.dry_multiplier = 0.8));
    assert!(!drawable(&|p| p.mirostat_tau = 5.0));
    assert!(!drawable(&|p| p.logprobs = Some(1)));
    assert!(!drawable(&|p| p.logit_bias = [(1, 1.0)].into()));
}
