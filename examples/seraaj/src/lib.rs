//! Small model of the volunteer platform Seraaj: services that wrote their events to a file, and now also publish them.
//!
//! [`file_publisher`] is the platform's old publisher, without Redis. [`dual`] writes to the file first and publishes
//! second, so that no request fails, and none waits long, because of Redis. [`applications`], [`matching`] and [`bff`]
//! are the services, with [`service`] as their common part; [`consumer`] reads their events with the library;
//! [`report`] checks the running platform.

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
