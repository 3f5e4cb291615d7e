//! Settings of the consumer program, as environment variables.

use eventbus_core::time::format;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector};

use super::Workload;

/// Returns the environment of a consumer; credential files are in `secret_directory`.
pub(super) fn environment(workload: &Workload<'_>, secret_directory: &str) -> Vec<EnvVar> {
    let pods = workload.pods;
    let mut variables = vec![
        variable("REDIS_URL", &pods.redis.url),
        variable("REDIS_STREAM_NAME", workload.stream.as_str()),
        variable("EVENT_GROUP", workload.group.as_str()),
        pod_name("EVENT_CONSUMER"),
    ];
    for (setting, key) in pods.redis.secret.iter().flat_map(|secret| &secret.files) {
        variables.push(variable(setting, &format!("{secret_directory}/{key}")));
    }
    if !pods.event_types.is_empty() {
        variables.push(variable("EVENT_TYPES", &pods.event_types.join(",")));
    }
    let handler = pods.handler.settings();
    variables.extend(handler.into_iter().map(|(name, value)| variable(name, value)));
    let delivery = &pods.delivery;
    let backoff = &delivery.backoff;
    variables.extend([
        variable("DELIVERY_MAX_ATTEMPTS", &delivery.max_attempts.to_string()),
        variable("DELIVERY_TIMEOUT", &format(delivery.timeout)),
        variable("DELIVERY_CONCURRENCY", &delivery.concurrency.to_string()),
        variable("DELIVERY_BATCH_SIZE", &delivery.batch_size.to_string()),
        variable("DELIVERY_MAX_BYTES", &delivery.max_bytes.to_string()),
        variable("DELIVERY_LEASE", &format(delivery.lease)),
        variable("DELIVERY_BACKOFF_INITIAL", &format(backoff.initial)),
        variable("DELIVERY_BACKOFF_MAX", &format(backoff.max)),
        variable("DELIVERY_BACKOFF_MULTIPLIER", &backoff.multiplier.to_string()),
        variable("DELIVERY_BACKOFF_JITTER_PERCENT", &backoff.jitter_percent.to_string()),
    ]);
    variables
}

fn variable(name: &str, value: &str) -> EnvVar {
    // The kubelet expands $(NAME) in values, and $$ to $.
    let value = value.replace('$', "$$");
    EnvVar { name: name.to_owned(), value: Some(value), value_from: None }
}

fn pod_name(name: &str) -> EnvVar {
    let field = ObjectFieldSelector {
        api_version: Some("v1".to_owned()),
        field_path: "metadata.name".to_owned(),
    };
    let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
    EnvVar { name: name.to_owned(), value: None, value_from: Some(source) }
}

#[cfg(test)]
mod tests {
    use eventbus_api::Format;

    use crate::redis::endpoints::PodSecret;
    use crate::testing::desired;
    use crate::workload::HandlerKind;

    use super::*;

    fn pairs(workload: &Workload<'_>) -> Vec<(String, String)> {
        let variables = environment(workload, "/secret");
        variables.into_iter().filter_map(|v| Some((v.name, v.value?))).collect()
    }

    fn value(workload: &Workload<'_>, name: &str) -> Option<String> {
        pairs(workload).into_iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    #[test]
    fn every_setting_of_the_resource_reaches_the_consumer() {
        let expected = [
            ("REDIS_URL", "redis://r:6379"),
            ("REDIS_STREAM_NAME", "s"),
            ("EVENT_GROUP", "g"),
            ("EVENT_TYPES", "a.*,b"),
            ("HANDLER", "http"),
            ("HANDLER_URL", "http://h/x"),
            ("HANDLER_FORMAT", "Json"),
            ("DELIVERY_MAX_ATTEMPTS", "5"),
            ("DELIVERY_TIMEOUT", "20s"),
            ("DELIVERY_CONCURRENCY", "8"),
            ("DELIVERY_BATCH_SIZE", "16"),
            ("DELIVERY_MAX_BYTES", "67108864"),
            ("DELIVERY_LEASE", "30s"),
            ("DELIVERY_BACKOFF_INITIAL", "1s"),
            ("DELIVERY_BACKOFF_MAX", "5m"),
            ("DELIVERY_BACKOFF_MULTIPLIER", "2"),
            ("DELIVERY_BACKOFF_JITTER_PERCENT", "20"),
        ];
        let expected: Vec<_> = expected.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        assert_eq!(pairs(&desired().workload(1)), expected);
    }

    #[test]
    fn the_consumer_is_named_after_its_pod() {
        let variables = environment(&desired().workload(1), "/secret");
        let consumer = variables.iter().find(|v| v.name == "EVENT_CONSUMER").unwrap();
        let field = consumer.value_from.as_ref().unwrap().field_ref.as_ref().unwrap();
        assert_eq!(field.field_path, "metadata.name");
    }

    #[test]
    fn all_event_types_are_an_absent_setting() {
        let mut all = desired();
        all.pods.event_types.clear();
        assert_eq!(value(&all.workload(1), "EVENT_TYPES"), None);
    }

    #[test]
    fn credentials_are_named_as_files_of_the_mounted_secret() {
        let mut with_secret = desired();
        let files = vec![("REDIS_PASSWORD_FILE", "password"), ("REDIS_CA_FILE", "ca.crt")];
        with_secret.pods.redis.secret = Some(PodSecret { name: "redis".into(), files });
        let value = |name| value(&with_secret.workload(1), name);
        assert_eq!(value("REDIS_PASSWORD_FILE").as_deref(), Some("/secret/password"));
        assert_eq!(value("REDIS_CA_FILE").as_deref(), Some("/secret/ca.crt"));
        assert_eq!(value("REDIS_USERNAME_FILE"), None);
    }

    #[test]
    fn every_dollar_sign_is_escaped() {
        let mut odd = desired();
        odd.pods.handler =
            HandlerKind::Http { url: "http://h/$(HOME)$$".into(), format: Format::Json };
        assert_eq!(
            value(&odd.workload(1), "HANDLER_URL").as_deref(),
            Some("http://h/$$(HOME)$$$$")
        );
    }
}
