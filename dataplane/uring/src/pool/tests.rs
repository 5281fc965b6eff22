use std::pin::pin;

use proptest::prelude::*;

use super::*;

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// What leased and kept blocks really take.
fn mapped(pool: &Pool) -> usize {
    let kept: usize = BlockSize::ALL
        .iter()
        .map(|s| pool.inner.free[s.index()].borrow().len() * s.footprint())
        .sum();
    assert_eq!(kept, pool.inner.kept.get());
    kept + pool.in_use()
}

#[derive(Clone, Debug)]
enum Op {
    One(BlockSize),
    Two(BlockSize),
    GiveBack(usize),
}

fn size() -> impl Strategy<Value = BlockSize> {
    prop_oneof![
        Just(BlockSize::Small),
        Just(BlockSize::Medium),
        Just(BlockSize::Large)
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        size().prop_map(Op::One),
        size().prop_map(Op::Two),
        any::<usize>().prop_map(Op::GiveBack)
    ]
}

proptest! {
    /// Never over the budget, nothing lost, and refused only when there is no room.
    #[test]
    fn keeps_within_the_budget(ops in proptest::collection::vec(op(), 1..120), budget in 0usize..6_000_000) {
        let pool = Pool::new(budget);
        let mut held: Vec<Block> = Vec::new();
        for op in ops {
            let leased: usize = held.iter().map(|b| BlockSize::holding(b.capacity()).footprint()).sum();
            prop_assert_eq!(pool.in_use(), leased);
            match op {
                Op::One(size) => match pool.try_lease::<1>(size) {
                    Ok(blocks) => held.extend(blocks),
                    Err(Exhausted) => prop_assert!(leased + size.footprint() > budget),
                },
                Op::Two(size) => match pool.try_lease::<2>(size) {
                    Ok(blocks) => held.extend(blocks),
                    Err(Exhausted) => prop_assert!(leased + 2 * size.footprint() > budget),
                },
                Op::GiveBack(i) => {
                    if !held.is_empty() {
                        held.swap_remove(i % held.len());
                    }
                }
            }
            prop_assert!(mapped(&pool) <= budget);
        }
        held.clear();
        prop_assert_eq!(pool.in_use(), 0);
        pool.trim();
        prop_assert_eq!(mapped(&pool), 0);
    }

    /// Waiters that come, are granted and give up in any order leave nothing behind.
    #[test]
    fn waiters_leave_cleanly(steps in proptest::collection::vec((0usize..3, any::<usize>(), size()), 1..80)) {
        let pool = Pool::new(3 * BlockSize::Large.footprint());
        let mut held: Vec<Block> = Vec::new();
        let mut waiting = Vec::new();
        for (what, i, size) in steps {
            match what {
                0 => waiting.push(Box::pin(pool.lease::<2>(size, Duration::from_secs(1)))),
                1 if !waiting.is_empty() => drop(waiting.swap_remove(i % waiting.len())),
                _ if !held.is_empty() => drop(held.swap_remove(i % held.len())),
                _ => {}
            }
            waiting.retain_mut(|w| match w.as_mut().poll(&mut context()) {
                Poll::Ready(blocks) => {
                    held.extend(blocks.unwrap());
                    false
                }
                Poll::Pending => true,
            });
            prop_assert!(mapped(&pool) <= pool.budget());
        }
        drop(waiting);
        held.clear();
        prop_assert_eq!(pool.in_use(), 0);
        prop_assert!(pool.inner.waiting.borrow().is_empty());
        prop_assert!(pool.try_lease::<3>(BlockSize::Large).is_ok());
    }
}

#[test]
fn the_last_block_given_back_is_the_next_one_leased() {
    let pool = Pool::new(1 << 20);
    let [a, b] = pool.try_lease(BlockSize::Small).unwrap();
    let (at_a, at_b) = (a.as_ptr(), b.as_ptr());
    drop(a);
    drop(b);
    let [first, second] = pool.try_lease(BlockSize::Small).unwrap();
    assert_eq!((first.as_ptr(), second.as_ptr()), (at_b, at_a));
}

#[test]
fn kept_blocks_of_other_sizes_make_room() {
    let pool = Pool::new(BlockSize::Large.footprint());
    drop(pool.try_lease::<3>(BlockSize::Medium).unwrap());
    drop(pool.try_lease::<2>(BlockSize::Small).unwrap());
    let [large] = pool.try_lease(BlockSize::Large).unwrap();
    assert_eq!(large.capacity(), BlockSize::Large.capacity());
    assert_eq!(mapped(&pool), pool.budget());
    assert!(pool.try_lease::<1>(BlockSize::Small).is_err());
}

#[test]
fn all_or_none() {
    let pool = Pool::new(3 * BlockSize::Small.footprint());
    let two = pool.try_lease::<2>(BlockSize::Small).unwrap();
    assert_eq!(
        pool.try_lease::<2>(BlockSize::Small).unwrap_err(),
        Exhausted
    );
    assert_eq!(pool.in_use(), 2 * BlockSize::Small.footprint());
    drop(two);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn first_come_first_served_and_nobody_overtakes() {
    let pool = Pool::new(4 * BlockSize::Small.footprint());
    let three = pool.try_lease::<3>(BlockSize::Small).unwrap();
    let wait = Duration::from_secs(1);
    let mut large = pin!(pool.lease::<3>(BlockSize::Small, wait));
    assert!(large.as_mut().poll(&mut context()).is_pending());
    // There is room for one, but somebody was first.
    assert!(pool.try_lease::<1>(BlockSize::Small).is_err());
    let mut small = pin!(pool.lease::<1>(BlockSize::Small, wait));
    assert!(small.as_mut().poll(&mut context()).is_pending());
    drop(three);
    assert!(small.as_mut().poll(&mut context()).is_ready(), "3 + 1 fit");
    let Poll::Ready(Ok(_three)) = large.as_mut().poll(&mut context()) else {
        panic!("granted")
    };
}

#[test]
fn one_that_gives_up_lets_the_next_through() {
    let pool = Pool::new(2 * BlockSize::Small.footprint());
    let [one] = pool.try_lease(BlockSize::Small).unwrap();
    let wait = Duration::from_secs(1);
    let mut second = Box::pin(pool.lease::<1>(BlockSize::Small, wait));
    {
        let mut first = pin!(pool.lease::<2>(BlockSize::Small, wait));
        assert!(first.as_mut().poll(&mut context()).is_pending());
        assert!(second.as_mut().poll(&mut context()).is_pending());
    }
    assert!(second.as_mut().poll(&mut context()).is_ready());
    drop(one);
    // Granted, but never polled again: the grant goes back.
    let all = pool.try_lease::<2>(BlockSize::Small).unwrap();
    let mut third = Box::pin(pool.lease::<2>(BlockSize::Small, wait));
    assert!(third.as_mut().poll(&mut context()).is_pending());
    drop(all);
    assert_eq!(pool.in_use(), 2 * BlockSize::Small.footprint());
    drop(third);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn what_can_never_be_is_refused_at_once() {
    let pool = Pool::new(BlockSize::Large.footprint());
    let mut lease = pin!(pool.lease::<2>(BlockSize::Large, Duration::from_secs(3600)));
    assert!(matches!(
        lease.as_mut().poll(&mut context()),
        Poll::Ready(Err(Exhausted))
    ));
    let [_held] = pool.try_lease(BlockSize::Large).unwrap();
    let mut lease = pin!(pool.lease::<1>(BlockSize::Large, Duration::ZERO));
    assert!(matches!(
        lease.as_mut().poll(&mut context()),
        Poll::Ready(Err(Exhausted))
    ));
}

#[test]
fn memory_that_nobody_needs_goes_back_to_the_system() {
    let pool = Pool::new(64 << 20);
    drop(pool.try_lease::<32>(BlockSize::Medium).unwrap());
    let peak = mapped(&pool);
    trim_all();
    assert_eq!(mapped(&pool), peak, "just used");
    for _ in 0..10 {
        // A steady load of four blocks.
        drop(pool.try_lease::<4>(BlockSize::Medium).unwrap());
        trim_all();
    }
    assert_eq!(mapped(&pool), 4 * BlockSize::Medium.footprint());
    for _ in 0..5 {
        trim_all();
    }
    assert_eq!(mapped(&pool), 0);
}
