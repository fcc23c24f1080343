//! What an instance holds of Flux: watchers and futures.
//!
//! The instance owns them. What the plugin holds is a key: dropping it releases
//! the resource, and forgetting it (`mem::forget`, a cycle of `Rc`s) is harmless,
//! for the instance releases all that is left at its end, while the library is
//! still mapped.

use std::cell::RefCell;
use std::rc::{Rc, Weak};

use super::panics::catch_panic;

/// A watcher or a future.
pub(super) trait Resource {
    /// Gives it back to Flux, which does not call it again. Called again, it does
    /// nothing.
    fn release(&self);
}

/// All that one instance holds.
#[derive(Default)]
pub(super) struct Resources {
    entries: RefCell<Vec<Option<Rc<dyn Resource>>>>,
    /// Indices of entries that are free.
    free: RefCell<Vec<usize>>,
}

/// The plugin's key to one resource, which is released when the key is dropped.
pub(super) struct Key {
    /// Gone with the instance, which then has released the resource.
    resources: Weak<Resources>,
    index: usize,
}

impl Resources {
    pub(super) fn add(self: &Rc<Self>, resource: Rc<dyn Resource>) -> Key {
        let mut entries = self.entries.borrow_mut();
        let index = match self.free.borrow_mut().pop() {
            Some(index) => index,
            None => {
                entries.push(None);
                entries.len() - 1
            }
        };
        entries[index] = Some(resource);
        Key { resources: Rc::downgrade(self), index }
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let Some(resources) = self.resources.upgrade() else { return };
        // It may own other keys, which are dropped with it: so it is taken out
        // first, and nothing is borrowed when it is released.
        let entry = resources.entries.borrow_mut()[self.index].take();
        resources.free.borrow_mut().push(self.index);
        if let Some(resource) = entry {
            resource.release();
        }
    }
}

impl Drop for Resources {
    fn drop(&mut self) {
        for resource in self.entries.get_mut().drain(..).flatten() {
            // A resource owns the plugin's closure, whose destructor may panic:
            // the others are released all the same.
            let _ = catch_panic(|| {
                resource.release();
                drop(resource);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::mem;

    use super::*;

    /// Counts how often it is released, and may own the key to another.
    #[derive(Default)]
    struct Counted {
        released: Rc<Cell<u32>>,
        owned: RefCell<Option<Key>>,
    }

    impl Resource for Counted {
        fn release(&self) {
            self.released.set(self.released.get() + 1);
            self.owned.borrow_mut().take();
        }
    }

    fn counted(resources: &Rc<Resources>, owned: Option<Key>) -> (Rc<Cell<u32>>, Key) {
        let counted = Counted { owned: RefCell::new(owned), ..Counted::default() };
        (counted.released.clone(), resources.add(Rc::new(counted)))
    }

    #[test]
    fn a_dropped_key_releases_and_its_index_is_used_again() {
        let resources = Rc::new(Resources::default());
        let (first, key) = counted(&resources, None);
        let (second, kept) = counted(&resources, None);
        drop(key);
        assert_eq!((first.get(), second.get()), (1, 0));
        let (_, third) = counted(&resources, None);
        assert_eq!((third.index, resources.entries.borrow().len()), (0, 2));
        drop((kept, third));
        drop(resources);
        assert_eq!((first.get(), second.get()), (1, 1));
    }

    #[test]
    fn what_was_forgotten_is_released_at_the_end() {
        let resources = Rc::new(Resources::default());
        let (released, key) = counted(&resources, None);
        mem::forget(key);
        drop(resources);
        assert_eq!(released.get(), 1);
    }

    #[test]
    fn a_key_outlives_the_instance() {
        let resources = Rc::new(Resources::default());
        let (released, key) = counted(&resources, None);
        drop(resources);
        drop(key);
        assert_eq!(released.get(), 1);
    }

    #[test]
    fn a_resource_may_own_the_key_to_another() {
        for keyed in [true, false] {
            let resources = Rc::new(Resources::default());
            let (inner, key) = counted(&resources, None);
            let (outer, key) = counted(&resources, Some(key));
            match keyed {
                true => drop(key),
                false => mem::forget(key),
            }
            drop(resources);
            assert_eq!((outer.get(), inner.get()), (1, 1), "dropped: {keyed}");
        }
    }

    #[test]
    fn one_that_panics_leaves_none_behind() {
        struct Panics;
        impl Resource for Panics {
            fn release(&self) {
                panic!("made for a test");
            }
        }
        let resources = Rc::new(Resources::default());
        mem::forget(resources.add(Rc::new(Panics)));
        let (released, key) = counted(&resources, None);
        mem::forget(key);
        drop(resources);
        assert_eq!(released.get(), 1);
    }
}
