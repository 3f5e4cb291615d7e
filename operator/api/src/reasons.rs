//! Reasons of conditions, in `CamelCase` as Kubernetes asks for.

/// The endpoint is unknown, or not for this namespace or stream.
pub const ENDPOINT_NOT_ALLOWED: &str = "EndpointNotAllowed";
/// The resource passed the schema but cannot be carried out.
pub const INVALID_TEMPLATE: &str = "InvalidTemplate";
/// A Deployment of the name that is needed belongs to somebody else.
pub const NAME_TAKEN: &str = "NameTaken";
/// Redis refuses user, password or rights.
pub const AUTH_FAILED: &str = "AuthFailed";
/// Redis does not answer.
pub const REDIS_UNREACHABLE: &str = "RedisUnreachable";
/// Redis is too old.
pub const UNSUPPORTED_SERVER: &str = "UnsupportedServer";
/// The stream's key holds something else.
pub const WRONG_TYPE: &str = "WrongType";
/// The group is missing, and cannot be created at present.
pub const GROUP_LOST: &str = "GroupLost";
/// The group stands past the end of the stream: nothing new would reach it.
pub const GROUP_AHEAD_OF_STREAM: &str = "GroupAheadOfStream";
/// Pods are wanted, and none is ready.
pub const CONSUMERS_UNAVAILABLE: &str = "ConsumersUnavailable";
/// So many entries wait for another attempt that no more are read.
pub const RETRY_BACKLOG: &str = "RetryBacklog";
/// Pods are ready, there is work, and nothing moves.
pub const STALLED: &str = "Stalled";
/// No pods, as asked for.
pub const SUSPENDED: &str = "Suspended";
/// No pods are wanted, and there is work.
pub const STOPPED: &str = "Stopped";
/// Fewer or more pods than wanted are ready.
pub const SCALING: &str = "Scaling";
/// There is work, or it is not known whether there is.
pub const CONSUMING: &str = "Consuming";
/// There is no work.
pub const IDLE: &str = "Idle";

/// Redis answers.
pub const ANSWERS: &str = "Answers";
/// The object is there.
pub const EXISTS: &str = "Exists";
/// The object is not there.
pub const MISSING: &str = "Missing";
/// It cannot be known at present.
pub const UNKNOWN: &str = "Unknown";
/// All wanted pods are ready.
pub const AVAILABLE: &str = "Available";
/// No pods are wanted.
pub const NONE_WANTED: &str = "NoneWanted";
/// Another resource owns the group.
pub const CONFLICT: &str = "Conflict";
/// Another resource has the group.
pub const OLDER_RESOURCE: &str = "OlderResource";
