//! Data that a back end stores with a description.

use std::any::Any;
use std::cell::OnceCell;

/// Data that a back end has prepared from a description on first use. Only that back end knows its type.
#[derive(Default)]
pub struct Memo(OnceCell<Box<dyn Any>>);

impl Memo {
    /// The stored data, made now if there is none. `None` if it cannot be made, or has another type.
    pub(in crate::array) fn get_or_make<T: 'static>(&self, make: impl FnOnce() -> Option<T>) -> Option<&T> {
        if self.0.get().is_none() {
            let made = make()?;
            self.0.get_or_init(|| Box::new(made));
        }
        self.0.get()?.downcast_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_first_that_could_be_made() {
        let memo = Memo::default();
        assert_eq!(memo.get_or_make::<i32>(|| None), None);
        assert_eq!(memo.get_or_make(|| Some(1)), Some(&1));
        assert_eq!(memo.get_or_make(|| Some(2)), Some(&1));
        assert_eq!(memo.get_or_make(|| Some("another kind")), None);
    }
}
