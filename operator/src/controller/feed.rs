//! The watches: what they bring goes into the caches, and wakes the resources that it concerns.

use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::{self, ObjectRef, store::Writer};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, predicates};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::context::{Cache, Context};
use crate::wake::{Guarded, Wake};
use crate::workload::MANAGED_BY;

use super::{after_failure, reconcile};

/// Reconciles at the same time in one namespace's controller: most of them only look.
const CONCURRENCY: u16 = 16;

/// One controller before it runs.
pub struct Feed {
    namespace: Option<String>,
    cache: Cache,
    groups: Writer<Guarded>,
    deployments: Writer<Deployment>,
    woken: UnboundedReceiver<ObjectRef<Guarded>>,
}

/// One feed for each of `namespaces`, or one for all where there are none; their caches; and the way to wake resources.
#[must_use]
pub fn feeds(namespaces: &[String]) -> (Vec<Feed>, Vec<Cache>, Wake) {
    let scopes: Vec<Option<String>> = if namespaces.is_empty() {
        vec![None]
    } else {
        namespaces.iter().cloned().map(Some).collect()
    };
    let (mut feeds, mut ways) = (Vec::new(), Vec::new());
    for namespace in scopes {
        let (groups, groups_writer) = reflector::store();
        let (deployments, deployments_writer) = reflector::store();
        let (way, woken) = unbounded_channel();
        ways.push((namespace.clone(), way));
        feeds.push(Feed {
            cache: Cache { namespace: namespace.clone(), groups, deployments },
            namespace,
            groups: groups_writer,
            deployments: deployments_writer,
            woken,
        });
    }
    let caches = feeds.iter().map(|feed| feed.cache.clone()).collect();
    (feeds, caches, Wake::new(ways))
}

/// Watches and reconciles until `stop`, and returns once the reconciles that were begun are over.
pub async fn drive(feed: Feed, context: Arc<Context>, wake: Wake, stop: CancellationToken) {
    let client = context.client.clone();
    let groups = groups(&client, &feed.namespace, feed.groups, Arc::clone(&context), wake);
    let deployments = deployments(&client, &feed.namespace, feed.deployments);
    let woken = futures::stream::unfold(feed.woken, |mut woken| async move {
        let next = woken.recv().await?;
        Some((next, woken))
    });
    Controller::for_stream(groups, feed.cache.groups)
        .with_config(controller::Config::default().concurrency(CONCURRENCY))
        .owns_stream(deployments)
        .reconcile_on(woken)
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(reconcile, after_failure, context)
        .for_each(|result| {
            told(result.err());
            std::future::ready(())
        })
        .await;
}

/// Failed reconciles were told by their error policy, and a resource that is gone needs no telling.
fn told<R: std::error::Error, Q: std::error::Error>(error: Option<controller::Error<R, Q>>) {
    match error {
        Some(controller::Error::QueueError(error)) => {
            tracing::warn!(error = bus::error::chain(&error), "a watch failed; it begins again");
        }
        Some(controller::Error::RunnerError(error)) => {
            tracing::error!(error = bus::error::chain(&error), "the controller failed");
        }
        Some(_) | None => {}
    }
}

/// Changes of the resources' spec. Their status is left out: it is ours, and would wake us with every write.
fn groups(
    client: &Client,
    namespace: &Option<String>,
    writer: Writer<Guarded>,
    context: Arc<Context>,
    wake: Wake,
) -> impl Stream<Item = Result<Guarded, watcher::Error>> + Send + use<> {
    watcher::watcher(api::<Guarded>(client, namespace), watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .inspect_ok(move |event| note(event, &context, &wake))
        .applied_objects()
        .predicate_filter(predicates::generation, Default::default())
}

/// The operator's Deployments, their status included: it tells which pods are ready.
fn deployments(
    client: &Client,
    namespace: &Option<String>,
    writer: Writer<Deployment>,
) -> impl Stream<Item = Result<Deployment, watcher::Error>> + Send + use<> {
    let label = format!("app.kubernetes.io/managed-by={MANAGED_BY}");
    watcher::watcher(
        api::<Deployment>(client, namespace),
        watcher::Config::default().labels(&label),
    )
    .default_backoff()
    .reflect(writer)
    .touched_objects()
}

fn api<K>(client: &Client, namespace: &Option<String>) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>,
    K::DynamicType: Default,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// A resource that goes leaves its group to the next one; after a break in the watch anything may have happened.
fn note(event: &Event<Guarded>, context: &Context, wake: &Wake) {
    let stream = match event {
        Event::Delete(gone) => gone.0.as_ref().ok().map(|gone| gone.spec.stream.clone()),
        Event::InitDone => None,
        Event::Apply(_) | Event::Init | Event::InitApply(_) => return,
    };
    context.forget_deleted();
    let concerned = |other: &str| stream.as_deref().is_none_or(|stream| stream == other);
    for resource in context.resources().iter().filter(|other| concerned(&other.spec.stream)) {
        wake.wake_named(&resource.namespace().unwrap_or_default(), &resource.name_any());
    }
}
