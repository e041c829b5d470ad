//! A radix tree: keys that begin alike share their beginning.

/// Values by keys, which are sequences of symbols.
pub struct Tree<S, V> {
    root: Node<S, V>,
}

struct Node<S, V> {
    /// What leads here from the parent; only the root's is empty.
    edge: Vec<S>,
    value: Option<V>,
    /// No two begin alike.
    children: Vec<Node<S, V>>,
}

impl<S: Copy + Eq, V> Default for Tree<S, V> {
    fn default() -> Self {
        Tree { root: Node::new(&[], None) }
    }
}

impl<S: Copy + Eq, V> Node<S, V> {
    fn new(edge: &[S], value: Option<V>) -> Self {
        Node { edge: edge.to_vec(), value, children: Vec::new() }
    }

    fn insert(&mut self, key: &[S], value: V) -> Option<V> {
        if key.is_empty() {
            return self.value.replace(value);
        }
        let Some(child) = self.children.iter_mut().find(|c| c.edge[0] == key[0]) else {
            self.children.push(Node::new(key, Some(value)));
            return None;
        };
        let n = common(&child.edge, key);
        if n < child.edge.len() {
            // The new key leaves the edge, or ends on it.
            let mut rest = Node::new(&child.edge[n..], child.value.take());
            rest.children = std::mem::take(&mut child.children);
            child.edge.truncate(n);
            child.children.push(rest);
        }
        child.insert(&key[n..], value)
    }

    fn remove(&mut self, key: &[S]) -> Option<V> {
        if key.is_empty() {
            return self.value.take();
        }
        let at = self.children.iter().position(|c| key.starts_with(&c.edge))?;
        let child = &mut self.children[at];
        let value = child.remove(&key[child.edge.len()..]);
        if child.value.is_none() {
            match child.children.len() {
                0 => drop(self.children.swap_remove(at)),
                1 => {
                    let mut only = child.children.remove(0);
                    let mut edge = std::mem::take(&mut child.edge);
                    edge.append(&mut only.edge);
                    *child = Node { edge, ..only };
                }
                _ => {}
            }
        }
        value
    }

    /// This node is reached with `shared` symbols in common with the key, of which `rest` is left if all were.
    fn visit<'a>(&'a self, shared: usize, rest: Option<&[S]>, found: &mut impl FnMut(usize, &'a V)) {
        if let Some(value) = &self.value {
            found(shared, value);
        }
        for child in &self.children {
            let n = rest.map_or(0, |rest| common(&child.edge, rest));
            let rest = rest.filter(|_| n == child.edge.len()).map(|rest| &rest[n..]);
            child.visit(shared + n, rest, found);
        }
    }
}

impl<S: Copy + Eq, V> Tree<S, V> {
    /// Puts a value in the place of the one that this key had.
    pub fn insert(&mut self, key: &[S], value: V) -> Option<V> {
        self.root.insert(key, value)
    }

    /// Takes out the value of a key.
    pub fn remove(&mut self, key: &[S]) -> Option<V> {
        self.root.remove(key)
    }

    /// All values, each with the number of symbols that its key and `key` have in common at their beginning.
    pub fn shared<'a>(&'a self, key: &[S], mut found: impl FnMut(usize, &'a V)) {
        self.root.visit(0, Some(key), &mut found);
    }
}

/// How many symbols both begin with.
fn common<S: Eq>(a: &[S], b: &[S]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn shared(tree: &Tree<u8, u32>, key: &[u8]) -> Vec<(u32, usize)> {
        let mut all = Vec::new();
        tree.shared(key, |n, v| all.push((*v, n)));
        all.sort_unstable();
        all
    }

    #[test]
    fn keys_share_their_beginnings() {
        let mut tree = Tree::default();
        for (key, value) in [("hello", 1), ("help", 2), ("he", 3), ("world", 4)] {
            assert_eq!(tree.insert(key.as_bytes(), value), None);
        }
        assert_eq!(shared(&tree, b"helper"), [(1, 3), (2, 4), (3, 2), (4, 0)]);
        assert_eq!(shared(&tree, b"hex"), [(1, 2), (2, 2), (3, 2), (4, 0)]);
        assert_eq!(tree.insert(b"he", 5), Some(3));
        assert_eq!(tree.remove(b"hel"), None);
        assert_eq!(tree.remove(b"he"), Some(5));
        assert_eq!(shared(&tree, b"he"), [(1, 2), (2, 2), (4, 0)]);
    }

    /// Compared with a list of keys, over many changes.
    #[test]
    fn it_is_a_map() {
        let mut rng = StdRng::seed_from_u64(1);
        let (mut tree, mut map) = (Tree::default(), BTreeMap::new());
        let key =
            |rng: &mut StdRng| -> Vec<u8> { (0..rng.random_range(0..7)).map(|_| rng.random_range(0..3)).collect() };
        for i in 0..3000 {
            let k = key(&mut rng);
            match rng.random_range(0..3) {
                0 => assert_eq!(tree.remove(&k), map.remove(&k)),
                _ => assert_eq!(tree.insert(&k, i), map.insert(k, i)),
            }
            if map.len() > 60 {
                let first = map.pop_first().unwrap();
                assert_eq!(tree.remove(&first.0), Some(first.1));
            }
            let k = key(&mut rng);
            let mut want: Vec<(u32, usize)> = map.iter().map(|(other, v)| (*v, common(other, &k))).collect();
            want.sort_unstable();
            assert_eq!(shared(&tree, &k), want);
        }
    }
}
