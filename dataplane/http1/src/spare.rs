//! Header maps that have done their work, for the next message on the same thread.
//!
//! A map's table is larger than what the system's allocator hands out quickly: to make four of them for every small
//! request, and to free them, cost more than to parse it.

use std::cell::RefCell;

use http::HeaderMap;

/// Maps that one thread keeps.
const KEPT: usize = 64;
/// Fields for which a new map has room: more than most heads have.
const ROOM: usize = 24;
/// A map that has grown beyond this is not kept.
const MOST: usize = 96;

thread_local! {
    static SPARE: RefCell<Vec<HeaderMap>> = const { RefCell::new(Vec::new()) };
}

/// An empty map with room for the fields of most heads.
pub fn spare_headers() -> HeaderMap {
    let spare = SPARE.try_with(|spare| spare.borrow_mut().pop());
    match spare {
        Ok(Some(map)) => map,
        _ => HeaderMap::with_capacity(ROOM),
    }
}

/// Takes back a map that nobody needs any more; its fields are dropped at once.
pub fn reuse_headers(mut map: HeaderMap) {
    if map.capacity() < ROOM || map.capacity() > MOST {
        return;
    }
    map.clear();
    // At the end of a thread there is nowhere to keep it.
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < KEPT {
            spare.push(map);
        }
    });
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::AUTHORIZATION;

    use super::*;

    #[test]
    fn a_map_comes_back_empty() {
        let mut map = spare_headers();
        map.append(AUTHORIZATION, HeaderValue::from_static("a"));
        map.append(AUTHORIZATION, HeaderValue::from_static("b"));
        reuse_headers(map);
        let map = spare_headers();
        assert!(map.is_empty() && map.capacity() >= ROOM);
        assert_eq!(map.get_all(AUTHORIZATION).iter().count(), 0);
    }

    #[test]
    fn maps_that_are_too_small_or_too_large_and_too_many_are_let_go() {
        let kept = || SPARE.with(|spare| spare.borrow().len());
        reuse_headers(HeaderMap::new());
        reuse_headers(HeaderMap::with_capacity(1000));
        assert_eq!(kept(), 0);
        for _ in 0..KEPT + 1 {
            reuse_headers(HeaderMap::with_capacity(ROOM));
        }
        assert_eq!(kept(), KEPT);
    }
}
