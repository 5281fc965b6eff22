//! The directory store, as its users see it.

#[path = "fs_store/buckets.rs"]
mod buckets;
#[path = "fs_store/child.rs"]
mod child;
#[path = "fs_store/concurrent.rs"]
mod concurrent;
#[path = "fs_store/crash.rs"]
mod crash;
#[path = "fs_store/harness.rs"]
mod harness;
#[path = "fs_store/list.rs"]
mod list;
#[path = "fs_store/multipart.rs"]
mod multipart;
#[path = "fs_store/objects.rs"]
mod objects;
