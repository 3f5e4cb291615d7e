//! The volunteer platform Seraaj in small: services that wrote their events to a file, and now tell an event bus too.
//!
//! [`file_publisher`] is what the platform had before; it knows nothing of Redis. [`dual`] calls it first and the bus
//! second, so that no request fails, and none waits long, because of Redis. [`applications`], [`matching`] and [`bff`]
//! are the services, [`service`] is what they share; [`consumer`] is a program that reads their events by the library,
//! [`report`] tries the whole and tells what it saw.

pub mod applications;
pub mod bff;
pub mod consumer;
pub mod dual;
pub mod event_types;
pub mod file_publisher;
pub mod input;
pub mod matching;
pub mod publishing;
pub mod received;
pub mod report;
pub mod service;
