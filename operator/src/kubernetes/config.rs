//! Configuration of the Kubernetes client: a kubeconfig, else the service account of the pod.

use eventbus::chain;
use eventbus::config::Lookup;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use crate::error::Error;
use crate::yaml;

/// Variables of the environment that name a proxy.
const PROXIES: [&str; 2] = ["HTTPS_PROXY", "https_proxy"];
/// Proxy of a cluster without a `proxy-url`, for which the library would take the one of the environment, and fail if it is
/// malformed.
const NO_PROXY: &str = "http://no-proxy.invalid/";

/// Reads the configuration. `lookup` returns variables of the environment. Proxies of the environment are not used, which
/// is logged: the service account's configuration has none either.
///
/// # Errors
/// [`Error::Configuration`] without a valid kubeconfig and service account, or for a kubeconfig that requires a proxy.
pub async fn configuration(lookup: Lookup<'_>) -> Result<Config, Error> {
    let is_set = |name: &&&str| lookup(name).is_some_and(|value| !value.is_empty());
    if let Some(variable) = PROXIES.iter().find(is_set) {
        tracing::warn!(
            "{variable} is set and not used: the operator connects to the API server without a proxy"
        );
    }
    let of_file = match Kubeconfig::read() {
        Ok(kubeconfig) => from_kubeconfig(kubeconfig).await,
        Err(error) => Err(error),
    };
    let mut config = match of_file {
        Ok(config) => config,
        Err(of_file) => {
            return Config::incluster().map_err(|of_pod| {
                let (of_file, of_pod) = (reported(&of_file), chain(&of_pod));
                let why = format!("kubeconfig: {of_file}; service account: {of_pod}");
                Error::Configuration(why.into())
            });
        }
    };
    let proxy = config.proxy_url.take();
    if proxy.is_some() && proxy != NO_PROXY.parse().ok() {
        let why = format!(
            "the kubeconfig has a proxy-url for {}, and the operator connects without a proxy; remove proxy-url, or run \
             the operator where it can reach the API server itself",
            config.cluster_url
        );
        return Err(Error::Configuration(why.into()));
    }
    Ok(config)
}

/// Describes an error of the kubeconfig. That of its form is its place alone: the library's own text quotes the file, which
/// has keys and tokens.
fn reported(error: &KubeconfigError) -> String {
    match error {
        KubeconfigError::Parse(error) => {
            format!("it is malformed: {} is not what is expected there", yaml::place(error))
        }
        error => chain(error),
    }
}

async fn from_kubeconfig(mut kubeconfig: Kubeconfig) -> Result<Config, KubeconfigError> {
    for cluster in kubeconfig.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        let own = cluster.proxy_url.take().filter(|url| !url.is_empty());
        cluster.proxy_url = own.or_else(|| Some(NO_PROXY.to_owned()));
    }
    Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await
}
