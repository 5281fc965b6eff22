//! Memory for keys: pages that are locked, left out of core dumps and not inherited by a fork, cut into slots that are
//! wiped when they are given back.
//!
//! Each size class has chunks of its own, mapped between two guard pages. A slot is all zero whenever nobody owns it.
//! Free slots lie in a small list of the thread and, beyond it, in a list of the process; pages are never given back
//! to the kernel, so memory for keys is bounded by the most keys that ever lived at once.
//!
//! * `mlock`: keys do not reach swap. Where `RLIMIT_MEMLOCK` refuses (containers often have 64 KiB), keys live in
//!   ordinary pages, and [`memory`] says how many.
//! * `MADV_DONTDUMP`: keys are in no core dump, whatever the process's limits say.
//! * `MADV_DONTFORK`, not `MADV_WIPEONFORK`: a child that went on after a fork would then seal with a key of zeros and
//!   never know; without the pages it dies at the first use of a key.

#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::mem::{align_of, needs_drop, size_of};
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Bytes of the slots: keys and digests, nonces with keys, key schedules. Multiples of 32, so that every slot of a
/// page begins at one.
const CLASSES: [usize; 5] = [32, 64, 160, 640, 1024];
/// The largest value that fits a slot.
pub(crate) const MAX_LEN: usize = CLASSES[CLASSES.len() - 1];
/// The alignment of every slot.
const ALIGN: usize = 32;
/// Free slots that one thread keeps per class, and how many it takes or gives back at once.
const LOCAL: usize = 32;
const BATCH: usize = 16;
/// Bytes of a class's first chunk and of its largest; each is twice the one before. The first ones are small, so that
/// all classes fit a container's 64 KiB of lockable memory.
const FIRST_CHUNK: usize = 8 << 10;
const LAST_CHUNK: usize = 128 << 10;

/// The smallest class that holds `len` bytes.
const fn class_of(len: usize) -> usize {
    let mut class = 0;
    while CLASSES[class] < len {
        class += 1;
    }
    class
}

/// Key memory of this process, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyMemory {
    /// Mapped for keys.
    pub mapped: u64,
    /// Of these, not locked, because the kernel refused: they may reach swap.
    pub unlocked: u64,
    /// Of these, not excluded from core dumps or forks, because the kernel refused.
    pub unprotected: u64,
}

static MAPPED: AtomicU64 = AtomicU64::new(0);
static UNLOCKED: AtomicU64 = AtomicU64::new(0);
static UNPROTECTED: AtomicU64 = AtomicU64::new(0);

/// How much memory keys have, and how much of it the kernel refused to protect.
pub fn memory() -> KeyMemory {
    KeyMemory {
        mapped: MAPPED.load(Ordering::Relaxed),
        unlocked: UNLOCKED.load(Ordering::Relaxed),
        unprotected: UNPROTECTED.load(Ordering::Relaxed),
    }
}

/// The start of a slot that nobody else knows: who holds it may write all of its class's bytes.
struct Free(NonNull<u8>);

// SAFETY: a `Free` is the only pointer to its slot, and the mapping belongs to the process, not to a thread.
unsafe impl Send for Free {}

/// The process's free slots of one class.
struct Shared {
    free: Vec<Free>,
    next_chunk: usize,
}

static SHARED: [Mutex<Shared>; CLASSES.len()] = [const {
    Mutex::new(Shared {
        free: Vec::new(),
        next_chunk: FIRST_CHUNK,
    })
}; CLASSES.len()];

/// A thread's free slots.
struct Local([Vec<Free>; CLASSES.len()]);

impl Drop for Local {
    fn drop(&mut self) {
        for (class, slots) in self.0.iter_mut().enumerate() {
            give_back(class, slots, 0);
        }
    }
}

thread_local! {
    static LOCAL_FREE: RefCell<Local> = const { RefCell::new(Local([const { Vec::new() }; CLASSES.len()])) };
}

fn shared(class: usize) -> std::sync::MutexGuard<'static, Shared> {
    // Nothing panics while the lists are inconsistent.
    SHARED[class].lock().unwrap_or_else(PoisonError::into_inner)
}

/// A slot of zeros.
#[inline]
fn take(class: usize) -> Free {
    let local = LOCAL_FREE.try_with(|local| {
        let slots = &mut local.borrow_mut().0[class];
        slots.pop().unwrap_or_else(|| refill(class, slots))
    });
    // A thread that is ending has no list any more.
    local.unwrap_or_else(|_| shared_slot(class, &mut shared(class)))
}

/// Puts a wiped slot back.
fn put(class: usize, slot: Free) {
    let mut slot = Some(slot);
    let _ = LOCAL_FREE.try_with(|local| {
        let slots = &mut local.borrow_mut().0[class];
        if slots.len() >= LOCAL {
            give_back(class, slots, LOCAL - BATCH);
        }
        slots.extend(slot.take());
    });
    if let Some(slot) = slot {
        shared(class).free.push(slot);
    }
}

/// Moves the slots from `keep` on to the process's list.
fn give_back(class: usize, slots: &mut Vec<Free>, keep: usize) {
    shared(class).free.extend(slots.drain(keep..));
}

/// A slot, and some more for the thread's list.
#[cold]
#[inline(never)]
fn refill(class: usize, slots: &mut Vec<Free>) -> Free {
    let mut shared = shared(class);
    let slot = shared_slot(class, &mut shared);
    slots.reserve_exact(LOCAL);
    let from = shared.free.len().saturating_sub(BATCH - 1);
    slots.extend(shared.free.drain(from..));
    slot
}

fn shared_slot(class: usize, shared: &mut Shared) -> Free {
    if shared.free.is_empty() {
        let len = shared.next_chunk;
        shared.next_chunk = (len * 2).min(LAST_CHUNK);
        map_chunk(class, len, &mut shared.free);
    }
    match shared.free.pop() {
        Some(slot) => slot,
        None => unreachable!("a chunk has slots"),
    }
}

/// Maps at least `len` bytes between two guard pages, and adds their slots.
fn map_chunk(class: usize, len: usize, free: &mut Vec<Free>) {
    // SAFETY: asks for a constant of the system.
    let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    let len = len.next_multiple_of(page);
    let layout = Layout::from_size_align(len, page)
        .unwrap_or_else(|_| unreachable!("pages are powers of two"));
    // SAFETY: a new private mapping at an address of the kernel's choice; no memory that exists is touched.
    let mapped = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len + 2 * page,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if mapped == libc::MAP_FAILED {
        handle_alloc_error(layout);
    }
    // SAFETY: the mapping has `len + 2 * page` bytes, so one page into it is inside.
    let start = unsafe { mapped.byte_add(page) };
    // SAFETY: `start..start + len` lies in the mapping just made, which nothing else refers to.
    if unsafe { libc::mprotect(start, len, libc::PROT_READ | libc::PROT_WRITE) } != 0 {
        handle_alloc_error(layout);
    }
    // SAFETY: as above; neither call changes what the memory holds.
    let (locked, undumped, unforked) = unsafe {
        (
            libc::mlock(start, len) == 0,
            libc::madvise(start, len, libc::MADV_DONTDUMP) == 0,
            libc::madvise(start, len, libc::MADV_DONTFORK) == 0,
        )
    };
    let bytes = len as u64;
    MAPPED.fetch_add(bytes, Ordering::Relaxed);
    if !locked {
        UNLOCKED.fetch_add(bytes, Ordering::Relaxed);
    }
    if !(undumped && unforked) {
        UNPROTECTED.fetch_add(bytes, Ordering::Relaxed);
    }
    let size = CLASSES[class];
    free.reserve(len / size);
    // The lowest address is handed out first.
    for n in (0..len / size).rev() {
        // SAFETY: `n * size + size <= len`, so the slot lies in the mapping, whose start is not null.
        let slot = unsafe { start.byte_add(n * size) }.cast::<u8>();
        free.extend(NonNull::new(slot).map(Free));
    }
}

/// Overwrites `len` bytes with zeros in a way that the compiler must not leave out.
///
/// # Safety
/// `at` must be valid for writing `len` bytes.
pub(crate) unsafe fn wipe(at: *mut u8, len: usize) {
    // SAFETY: the caller's promise.
    unsafe { ptr::write_bytes(at, 0, len) };
    // SAFETY: no instruction. The compiler has to assume that it reads the memory `at` points to, so the zeros must
    // have been written before.
    unsafe { std::arch::asm!("/* {0} */", in(reg) at, options(nostack, preserves_flags)) };
}

/// Overwrites the part of this thread's stack that calls made by the caller have just used: what they copied there on
/// their way is gone afterwards. Key expansion by ring works in about 3 KiB.
#[inline(never)]
pub(crate) fn scrub_stack() {
    const DEPTH: usize = 6 << 10;
    let mut below = [const { std::mem::MaybeUninit::<u8>::uninit() }; DEPTH];
    // SAFETY: the array is this function's own, and any byte is a valid `MaybeUninit<u8>`.
    unsafe { wipe(below.as_mut_ptr().cast(), DEPTH) };
}

/// A value in key memory; its slot is wiped on drop.
///
/// `T` must be plain data: whatever it might point to is not followed, and it must not need dropping.
pub(crate) struct Locked<T> {
    at: NonNull<T>,
    owns: PhantomData<T>,
}

// SAFETY: a `Locked` owns its value as a `Box` does: the slot has no other user, and any thread may give it back.
unsafe impl<T: Send> Send for Locked<T> {}
// SAFETY: a shared `Locked` gives out `&T` only.
unsafe impl<T: Sync> Sync for Locked<T> {}

impl<T> Locked<T> {
    const CLASS: usize = {
        assert!(size_of::<T>() <= MAX_LEN, "no slot is large enough");
        assert!(align_of::<T>() <= ALIGN, "slots are not aligned enough");
        assert!(
            !needs_drop::<T>(),
            "a wiped value is never dropped, so it must not need it"
        );
        class_of(size_of::<T>())
    };

    /// Moves `value` into a slot. The caller's copy, if the compiler made one, is on the stack: see [`scrub_stack`].
    pub(crate) fn new(value: T) -> Self {
        let at = take(Self::CLASS).0.cast::<T>();
        // SAFETY: the slot is large and aligned enough (`CLASS`), and this thread's alone.
        unsafe { at.write(value) };
        Self {
            at,
            owns: PhantomData,
        }
    }
}

impl<const N: usize> Locked<[u8; N]> {
    /// Zeros.
    #[inline]
    pub(crate) fn zeroed() -> Self {
        // Free slots are zero.
        Self {
            at: take(Self::CLASS).0.cast(),
            owns: PhantomData,
        }
    }
}

impl<T> Deref for Locked<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the slot holds a valid `T` from its making to its drop, and lives as long as `self`, which is
        // borrowed; a mutable reference would borrow `self` mutably.
        unsafe { self.at.as_ref() }
    }
}

impl<T> DerefMut for Locked<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`; `self` is borrowed mutably, so this is the only reference.
        unsafe { self.at.as_mut() }
    }
}

impl<T> Drop for Locked<T> {
    #[inline]
    fn drop(&mut self) {
        let slot = self.at.cast::<u8>();
        // SAFETY: the slot has the bytes of its class and no other user; `T` needs no drop and is not read again.
        unsafe { wipe(slot.as_ptr(), CLASSES[Self::CLASS]) };
        put(Self::CLASS, Free(slot));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_has_the_smallest_class_that_holds_it() {
        for len in 0..=MAX_LEN {
            let class = class_of(len);
            assert!(CLASSES[class] >= len);
            assert!(class == 0 || CLASSES[class - 1] < len);
        }
        assert!(CLASSES.iter().all(|size| size % ALIGN == 0));
    }

    #[test]
    fn values_are_apart_and_slots_are_clean_when_they_come_back() {
        // More than a thread keeps, so that lists, batches and chunks all take part.
        for round in 1..4_u8 {
            let all: Vec<_> = (0..1000_u32)
                .map(|n| {
                    let mut slot = Locked::<[u8; 33]>::zeroed();
                    assert_eq!(*slot, [0; 33]);
                    slot.fill(n as u8 ^ round);
                    slot
                })
                .collect();
            for (n, slot) in all.iter().enumerate() {
                assert_eq!(**slot, [n as u8 ^ round; 33]);
            }
        }
    }

    #[test]
    fn slots_wander_between_threads() {
        let (send, receive) = std::sync::mpsc::sync_channel::<Locked<[u8; 64]>>(8);
        let ends = std::thread::spawn(move || {
            receive.into_iter().for_each(|slot| assert_eq!(slot[63], 7));
        });
        let before = {
            drop(Locked::<[u8; 64]>::zeroed());
            memory().mapped
        };
        for _ in 0..20_000 {
            let mut slot = Locked::<[u8; 64]>::zeroed();
            assert_eq!(slot[63], 0);
            slot[63] = 7;
            send.send(slot).unwrap();
        }
        drop(send);
        ends.join().unwrap();
        // Other tests take slots at the same time, so only the order of magnitude is certain.
        let grown = memory().mapped - before;
        assert!(
            grown < 1 << 20,
            "{grown} bytes for eight secrets at a time: slots do not come back"
        );
    }

    #[test]
    fn a_secret_that_outlives_its_threads_list_is_freed() {
        thread_local! {
            static LATE: RefCell<Option<Locked<[u8; 32]>>> = const { RefCell::new(None) };
        }
        for _ in 0..200 {
            std::thread::spawn(|| {
                // Registered before the free list, so destroyed after it.
                LATE.with(|late| *late.borrow_mut() = None);
                LATE.with(|late| *late.borrow_mut() = Some(Locked::zeroed()));
            })
            .join()
            .unwrap();
        }
        assert!(memory().mapped < 4 << 20);
    }

    #[test]
    fn aligned_values() {
        #[repr(align(32))]
        struct Aligned([u8; 600]);
        let all: Vec<_> = (0..50).map(|n| Locked::new(Aligned([n; 600]))).collect();
        for (n, value) in all.iter().enumerate() {
            assert_eq!(value.0, [n as u8; 600]);
            assert!((&raw const **value).is_aligned());
        }
    }
}
