//! What runs the cases.

pub mod cases;
mod disk;
mod show;
mod world;
