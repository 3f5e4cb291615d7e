//! Consumer pods of a resource: their Deployment, its drift from the desired one, and the reason why its pods are not
//! ready. Pure.

mod deployment;
mod drift;
mod environment;
mod handler;
mod pod;
mod pod_problem;
mod settings;
mod view;

pub use deployment::{MANAGED_BY, deployment, is_controlled_by, name, selector};
pub use drift::has_drifted;
pub use handler::HandlerKind;
pub use pod_problem::pod_problem;
pub use settings::{DeliverySettings, PodRedis, PodSettings, Workload};
pub use view::DeploymentView;
