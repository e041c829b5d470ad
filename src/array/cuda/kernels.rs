//! The kernels that a thread has made.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

use crate::error::Result;

/// Kernels by their keys. Each is compiled on first use; one that does not compile is not tried again, and the others
/// are not affected.
pub struct Kernels<K, T> {
    made: RefCell<HashMap<K, Option<Rc<T>>>>,
}

impl<K, T> Default for Kernels<K, T> {
    fn default() -> Self {
        Kernels { made: RefCell::default() }
    }
}

impl<K: Clone + Eq + Hash, T> Kernels<K, T> {
    /// The kernel for `key`; `None` if it does not compile, which is logged once. `name` says what it is for.
    pub fn get(&self, key: &K, name: &str, compile: impl FnOnce() -> Result<T>) -> Option<Rc<T>> {
        if let Some(known) = self.made.borrow().get(key) {
            return known.clone();
        }
        let made = match compile() {
            Ok(kernel) => Some(Rc::new(kernel)),
            Err(error) => {
                log::warn!("a kernel for {name} on CUDA is not used, but MLX's own operations: {error}");
                None
            }
        };
        self.made.borrow_mut().insert(key.clone(), made.clone());
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn one_that_does_not_compile_leaves_the_others_alone() {
        let kernels = Kernels::<&str, i32>::default();
        let mut tried = 0;
        for _ in 0..3 {
            let broken = kernels.get(&"broken", "tests", || {
                tried += 1;
                Err(Error::mlx("does not compile"))
            });
            assert!(broken.is_none());
        }
        assert_eq!(tried, 1);
        assert_eq!(kernels.get(&"good", "tests", || Ok(1)).as_deref(), Some(&1));
        // Existing ones are not made again.
        assert_eq!(kernels.get(&"good", "tests", || Ok(2)).as_deref(), Some(&1));
        assert!(kernels.get(&"broken", "tests", || Ok(3)).is_none());
    }
}
