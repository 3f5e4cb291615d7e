//! The watches: what they bring goes into the caches, and wakes the resources that it concerns.

use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::controller::{self, Controller};
use kube::runtime::reflector::{self, ObjectRef, store::Writer};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{Predicate, WatchStreamExt, predicates};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_util::sync::CancellationToken;

use crate::claim::GroupKey;
use crate::context::{Cache, Context};
use crate::wake::{Guarded, Wake};
use crate::workload::MANAGED_BY;

use super::{after_failure, reconcile};

/// Reconciles at the same time in one namespace's controller: most of them only look.
const CONCURRENCY: u16 = 16;

/// One controller before it runs.
pub struct Feed {
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
            cache: Cache { namespace, groups, deployments, synced: Arc::default() },
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
    let groups = groups(&context, &feed.cache, feed.groups, wake);
    let deployments = deployments(&context.client, &feed.cache, feed.deployments);
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
            tracing::warn!(error = eventbus::chain(&error), "a watch failed; it begins again");
        }
        Some(controller::Error::RunnerError(error)) => {
            tracing::error!(error = eventbus::chain(&error), "the controller failed");
        }
        Some(_) | None => {}
    }
}

/// Changes of the resources' spec. Their status is left out: it is ours, and would wake us with every write.
fn groups(
    context: &Arc<Context>,
    cache: &Cache,
    writer: Writer<Guarded>,
    wake: Wake,
) -> impl Stream<Item = Result<Guarded, watcher::Error>> + Send + use<> {
    let api = api::<Guarded>(&context.client, &cache.namespace);
    let (synced, context) = (Arc::clone(&cache.synced), Arc::clone(context));
    let (context_of_note, wake_of_note) = (Arc::clone(&context), wake.clone());
    watcher::watcher(api, watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .inspect_ok(move |event| {
            note(event, &context_of_note, &wake_of_note);
            if matches!(event, Event::InitDone) {
                synced.set_groups();
            }
        })
        .applied_objects()
        .predicate_filter(
            predicates::generation.combine(predicates::annotations),
            Default::default(),
        )
        .inspect_ok(move |changed| wake_rivals(changed, &context, &wake))
}

/// The operator's Deployments, their status included: it tells which pods are ready.
fn deployments(
    client: &Client,
    cache: &Cache,
    writer: Writer<Deployment>,
) -> impl Stream<Item = Result<Deployment, watcher::Error>> + Send + use<> {
    let label = format!("app.kubernetes.io/managed-by={MANAGED_BY}");
    let api = api::<Deployment>(client, &cache.namespace);
    let synced = Arc::clone(&cache.synced);
    watcher::watcher(api, watcher::Config::default().labels(&label))
        .default_backoff()
        .reflect(writer)
        .inspect_ok(move |event| {
            if matches!(event, Event::InitDone) {
                synced.set_deployments();
            }
        })
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
    match event {
        Event::Delete(gone) => {
            context.forget_deleted();
            wake_rivals(gone, context, wake);
        }
        Event::InitDone => {
            context.forget_deleted();
            for guarded in context.resources() {
                wake.wake_named(&guarded.namespace().unwrap_or_default(), &guarded.name_any());
            }
        }
        Event::Apply(resource) | Event::InitApply(resource) => {
            if let (Ok(resource), Some(uid)) = (&resource.0, resource.uid()) {
                context.sweeps.declare(&uid, GroupKey::of(resource, &context.endpoints));
            }
        }
        Event::Init => {}
    }
}

/// Wakes the others that want the group of `changed`: who has it may be another one now.
fn wake_rivals(changed: &Guarded, context: &Context, wake: &Wake) {
    let Ok(changed) = &changed.0 else {
        return;
    };
    let key = GroupKey::of(changed, &context.endpoints);
    for guarded in context.resources() {
        let Ok(other) = &guarded.0 else {
            continue;
        };
        if GroupKey::of(other, &context.endpoints) == key && other.uid() != changed.uid() {
            wake.wake_named(&other.namespace().unwrap_or_default(), &other.name_any());
        }
    }
}
