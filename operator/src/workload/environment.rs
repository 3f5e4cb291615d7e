//! The settings of the consumer program, as environment variables.

use eventbus_api::Format;
use eventbus_core::time::format;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector};

use crate::wanted::{HandlerKind, Wanted};

/// The environment of a consumer of `wanted`; credential files stand in `secret_directory`.
#[must_use]
pub fn environment(wanted: &Wanted, secret_directory: &str) -> Vec<EnvVar> {
    let mut variables = vec![
        variable("REDIS_URL", &wanted.redis.url),
        variable("REDIS_STREAM_NAME", wanted.target.stream.as_str()),
        variable("EVENT_GROUP", wanted.group.as_str()),
        pod_name("EVENT_CONSUMER"),
    ];
    for (setting, key) in wanted.redis.secret.iter().flat_map(|secret| &secret.files) {
        variables.push(variable(setting, &format!("{secret_directory}/{key}")));
    }
    if !wanted.event_types.is_empty() {
        variables.push(variable("EVENT_TYPES", &wanted.event_types.join(",")));
    }
    match &wanted.handler {
        HandlerKind::Log => variables.push(variable("HANDLER", "log")),
        HandlerKind::Http { url, format } => variables.extend([
            variable("HANDLER", "http"),
            variable("HANDLER_URL", url),
            variable("HANDLER_FORMAT", format_name(*format)),
        ]),
    }
    let delivery = &wanted.delivery;
    let backoff = &delivery.backoff;
    variables.extend([
        variable("DELIVERY_MAX_ATTEMPTS", &delivery.max_attempts.to_string()),
        variable("DELIVERY_TIMEOUT", &format(delivery.timeout)),
        variable("DELIVERY_CONCURRENCY", &delivery.concurrency.to_string()),
        variable("DELIVERY_BATCH_SIZE", &delivery.batch_size.to_string()),
        variable("DELIVERY_LEASE", &format(delivery.lease)),
        variable("DELIVERY_BACKOFF_INITIAL", &format(backoff.initial)),
        variable("DELIVERY_BACKOFF_MAX", &format(backoff.max)),
        variable("DELIVERY_BACKOFF_MULTIPLIER", &backoff.multiplier.to_string()),
        variable("DELIVERY_BACKOFF_JITTER_PERCENT", &backoff.jitter_percent.to_string()),
    ]);
    variables
}

fn format_name(format: Format) -> &'static str {
    match format {
        Format::CloudEventBinary => "CloudEventBinary",
        Format::CloudEventStructured => "CloudEventStructured",
        Format::Json => "Json",
    }
}

fn variable(name: &str, value: &str) -> EnvVar {
    // The kubelet expands $(NAME) in values; a stream or URL with such text is meant as it stands.
    let value = value.replace("$(", "$$(");
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
    use crate::endpoints::PodSecret;
    use crate::testing::wanted;

    use super::*;

    fn pairs(wanted: &Wanted) -> Vec<(String, String)> {
        let variables = environment(wanted, "/secret");
        variables.into_iter().filter_map(|v| Some((v.name, v.value?))).collect()
    }

    fn value(wanted: &Wanted, name: &str) -> Option<String> {
        pairs(wanted).into_iter().find(|(n, _)| n == name).map(|(_, value)| value)
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
            ("DELIVERY_LEASE", "30s"),
            ("DELIVERY_BACKOFF_INITIAL", "1s"),
            ("DELIVERY_BACKOFF_MAX", "5m"),
            ("DELIVERY_BACKOFF_MULTIPLIER", "2"),
            ("DELIVERY_BACKOFF_JITTER_PERCENT", "20"),
        ];
        let expected: Vec<_> = expected.map(|(n, v)| (n.to_owned(), v.to_owned())).into();
        assert_eq!(pairs(&wanted()), expected);
    }

    #[test]
    fn the_consumer_is_named_after_its_pod() {
        let variables = environment(&wanted(), "/secret");
        let consumer = variables.iter().find(|v| v.name == "EVENT_CONSUMER").unwrap();
        let field = consumer.value_from.as_ref().unwrap().field_ref.as_ref().unwrap();
        assert_eq!(field.field_path, "metadata.name");
    }

    #[test]
    fn all_event_types_are_an_absent_setting() {
        let all = Wanted { event_types: Vec::new(), ..wanted() };
        assert_eq!(value(&all, "EVENT_TYPES"), None);
    }

    #[test]
    fn credentials_are_named_as_files_of_the_mounted_secret() {
        let mut with_secret = wanted();
        let files = vec![("REDIS_PASSWORD_FILE", "password"), ("REDIS_CA_FILE", "ca.crt")];
        with_secret.redis.secret = Some(PodSecret { name: "redis".into(), files });
        let value = |name| value(&with_secret, name);
        assert_eq!(value("REDIS_PASSWORD_FILE").as_deref(), Some("/secret/password"));
        assert_eq!(value("REDIS_CA_FILE").as_deref(), Some("/secret/ca.crt"));
        assert_eq!(value("REDIS_USERNAME_FILE"), None);
    }

    #[test]
    fn text_that_looks_like_a_variable_is_not_expanded() {
        let mut odd = wanted();
        odd.handler = HandlerKind::Http { url: "http://h/$(HOME)".into(), format: Format::Json };
        assert_eq!(value(&odd, "HANDLER_URL").as_deref(), Some("http://h/$$(HOME)"));
    }
}
