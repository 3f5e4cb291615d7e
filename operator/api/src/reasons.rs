//! Reasons of conditions, in `CamelCase` as the Kubernetes API requires.

/// Reason: the endpoint does not exist, or may not be used by this namespace or for this stream.
pub const ENDPOINT_NOT_ALLOWED: &str = "EndpointNotAllowed";
/// Reason: the schema accepted the spec, but one of its fields has an invalid value.
pub const INVALID_TEMPLATE: &str = "InvalidTemplate";
/// Reason: a Deployment of the required name exists, and this resource does not control it.
pub const NAME_TAKEN: &str = "NameTaken";
/// Reason: Redis rejected the user, the password or a command, or a credential file cannot be read.
pub const AUTH_FAILED: &str = "AuthFailed";
/// Reason: Redis cannot be reached, does not respond, or was not read yet.
pub const REDIS_UNREACHABLE: &str = "RedisUnreachable";
/// Reason: the version of the Redis server is not supported.
pub const UNSUPPORTED_SERVER: &str = "UnsupportedServer";
/// Reason: the stream's key has a value of another type.
pub const WRONG_TYPE: &str = "WrongType";
/// Reason: the group is missing, and was not created yet or could not be created.
pub const GROUP_LOST: &str = "GroupLost";
/// Reason: the group's position is past the stream's last entry, so that new entries would not be delivered.
pub const GROUP_AHEAD_OF_STREAM: &str = "GroupAheadOfStream";
/// Reason: pods are desired and none is ready, or the Deployment failed.
pub const CONSUMERS_UNAVAILABLE: &str = "ConsumersUnavailable";
/// Reason: the maximum of delayed entries is reached, and no more are read.
pub const RETRY_BACKLOG: &str = "RetryBacklog";
/// Reason: pods are ready and the backlog is not empty, but nothing was delivered or acknowledged for 60 s.
pub const STALLED: &str = "Stalled";
/// Reason: no pods are desired because `spec.suspend` is true.
pub const SUSPENDED: &str = "Suspended";
/// Reason: no pods are desired because `spec.replicas` is 0, and the backlog is not empty.
pub const STOPPED: &str = "Stopped";
/// Reason: fewer or more pods than desired are ready.
pub const SCALING: &str = "Scaling";
/// Reason: the backlog is not empty, or unknown.
pub const CONSUMING: &str = "Consuming";
/// Reason: the backlog is empty.
pub const IDLE: &str = "Idle";

/// Reason: Redis responds.
pub const ANSWERS: &str = "Answers";
/// Reason: the object exists.
pub const EXISTS: &str = "Exists";
/// Reason: the object does not exist.
pub const MISSING: &str = "Missing";
/// Reason: the status is unknown, because Redis could not be read or was not read yet.
pub const UNKNOWN: &str = "Unknown";
/// Reason: all desired pods are ready.
pub const AVAILABLE: &str = "Available";
/// Reason: no pods are desired.
pub const NONE_DESIRED: &str = "NoneWanted";
/// Reason: another resource owns the group.
pub const CONFLICT: &str = "Conflict";
/// Reason: the resource that owns the group is older.
pub const OLDER_RESOURCE: &str = "OlderResource";
