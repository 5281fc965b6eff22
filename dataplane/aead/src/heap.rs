//! A heap that wipes what is freed, on the threads that ask for it.
//!
//! Parsers, HTTP clients and SDKs copy secrets into buffers of their own: a growing `String`, a syntax error that keeps
//! its input, a JSON document, a TLS record. Their owners cannot wipe these, but the allocator sees each of them go.
//! Threads of the control plane, which handle such texts and are in no hurry, wipe every block they free. Threads of the
//! data plane pay one predictable branch per free.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use crate::arena::wipe;

thread_local! {
    // Without a destructor and without lazy initialisation, so that the allocator may use it at any time.
    static WIPES: Cell<bool> = const { Cell::new(false) };
}

/// An allocator, the system's unless another is named, with wiping. A program makes it its own:
///
/// ```
/// use sealgate_aead::WipingHeap;
/// #[global_allocator]
/// static HEAP: WipingHeap = WipingHeap(std::alloc::System);
/// # fn main() {}
/// ```
pub struct WipingHeap<A = System>(pub A);

/// From now on the calling thread wipes whatever it frees, also what other threads allocated. Without effect in a program
/// whose allocator is not a [`WipingHeap`].
pub fn wipe_on_this_thread() {
    WIPES.set(true);
}

// SAFETY: allocates and frees by `A` with the same layouts, so all of its guarantees hold; a block is written to only
// after its owner gave it up and before `A` gets it back.
unsafe impl<A: GlobalAlloc> GlobalAlloc for WipingHeap<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if WIPES.get() {
            // SAFETY: the block has `layout.size()` bytes, and its owner is done with it.
            unsafe { wipe(block, layout.size()) };
        }
        // SAFETY: the caller's promise.
        unsafe { self.0.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        if WIPES.get() {
            // SAFETY: the caller's promise.
            return unsafe { self.move_wiping(block, layout, new_size) };
        }
        // SAFETY: the caller's promise.
        unsafe { self.0.realloc(block, layout, new_size) }
    }
}

impl<A: GlobalAlloc> WipingHeap<A> {
    /// `A::realloc` would free the old block as it is.
    ///
    /// # Safety
    /// As `realloc`.
    #[cold]
    unsafe fn move_wiping(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: `realloc`'s caller promises a size that is not zero and does not overflow with the alignment.
        let new = unsafe {
            self.0
                .alloc(Layout::from_size_align_unchecked(new_size, layout.align()))
        };
        if !new.is_null() {
            // SAFETY: two different live blocks, of at least the copied length each; the old one is the caller's to
            // give up, and is not used after.
            unsafe {
                std::ptr::copy_nonoverlapping(block, new, layout.size().min(new_size));
                wipe(block, layout.size());
                self.0.dealloc(block, layout);
            }
        }
        new
    }
}
