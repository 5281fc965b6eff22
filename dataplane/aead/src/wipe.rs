//! A heap value whose memory is wiped when it is dropped, for types that do not wipe themselves.

#![allow(unsafe_code)]

use std::mem::{ManuallyDrop, MaybeUninit, needs_drop, size_of};
use std::ops::Deref;

use zeroize::Zeroize;

/// Owns a `T` on the heap and overwrites all its bytes before the memory is given back.
///
/// `T` must be plain data (it must not need dropping): whatever it might point to is not followed.
pub(crate) struct WipedBox<T>(Box<ManuallyDrop<T>>);

impl<T> WipedBox<T> {
    /// Moves `value` to the heap.
    pub(crate) fn new(value: T) -> Self {
        const {
            assert!(
                !needs_drop::<T>(),
                "a wiped value is never dropped, so it must not need it"
            )
        };
        Self(Box::new(ManuallyDrop::new(value)))
    }
}

impl<T> Deref for WipedBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for WipedBox<T> {
    fn drop(&mut self) {
        let value: *mut ManuallyDrop<T> = &mut *self.0;
        // SAFETY: `value` comes from a unique reference to a live allocation of exactly `size_of::<T>()`
        // bytes (`ManuallyDrop<T>` has the layout of `T`), and `MaybeUninit<u8>` has alignment 1 and admits
        // every byte, padding included. The slice is the only access to the memory while it lives. No `T`
        // is read from the memory afterwards: `self` is being dropped, `ManuallyDrop` does not run `T`'s
        // drop (which `new` asserts is none), and the box only frees the block.
        let bytes = unsafe {
            std::slice::from_raw_parts_mut(value.cast::<MaybeUninit<u8>>(), size_of::<T>())
        };
        bytes.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::WipedBox;

    /// Only reads and derefs: what happens to the memory is watched from outside, in `tests/wiping.rs`.
    #[test]
    fn derefs_to_the_value() {
        let value = WipedBox::new([5_u8; 48]);
        assert_eq!(*value, [5; 48]);
    }
}
