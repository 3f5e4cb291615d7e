//! Leader election on a Lease: one replica writes, the others wait for their turn.

mod decision;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Api, PostParams};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::settings::LeaseTimes;

use super::calls::within;
use decision::{LastChange, Step};

/// Takes part in the election under one identity.
pub struct Elector {
    leases: Api<Lease>,
    name: String,
    identity: String,
    times: LeaseTimes,
    held: Mutex<Held>,
}

/// What this replica knows of its own lease.
#[derive(Default)]
struct Held {
    lease: Option<Lease>,
    /// Until then nobody else can be the leader.
    until: Option<Instant>,
}

impl Elector {
    /// An elector for the Lease `name`; `identity` differs from that of every other replica and every earlier start.
    #[must_use]
    pub fn new(leases: Api<Lease>, name: &str, identity: &str, times: LeaseTimes) -> Self {
        let (name, identity) = (name.to_owned(), identity.to_owned());
        Self { leases, name, identity, times, held: Mutex::default() }
    }

    /// Whether this replica may write now.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        self.held().until.is_some_and(|until| now() < until)
    }

    /// Waits until the lease is ours; `false` when `stop` came first.
    pub async fn acquire(&self, stop: &CancellationToken) -> bool {
        let mut last_change = LastChange::default();
        let mut logged = None;
        while !stop.is_cancelled() {
            let pause = match self.try_acquire(&mut last_change).await {
                Ok(None) => return true,
                Ok(Some(pause)) => pause,
                Err(error) => {
                    let error = error.report();
                    if logged.as_ref() != Some(&error) {
                        tracing::warn!(lease = %self.name, error, "cannot take part in the election");
                        logged = Some(error);
                    }
                    self.times.retry
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        false
    }

    /// Renews the lease until `done`, then gives it up so that the next replica need not wait. Cancels `lost` when
    /// it could not be renewed in time, and returns then.
    pub async fn keep(&self, lost: &CancellationToken, done: &CancellationToken) {
        loop {
            tokio::select! {
                () = done.cancelled() => {
                    self.release().await;
                    return;
                }
                () = tokio::time::sleep(self.times.retry) => {}
            }
            // A call that hangs must not outlast the deadline.
            let limit = self
                .held()
                .until
                .map_or(Duration::ZERO, |until| until.saturating_duration_since(now()));
            match tokio::time::timeout(limit, self.renew()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    tracing::error!(lease = %self.name, "the lease was taken by another replica");
                    self.held().until = None;
                }
                Ok(Err(error)) => {
                    tracing::warn!(lease = %self.name, error = error.report(), "cannot renew the lease");
                }
                Err(_) => {}
            }
            if !self.is_leading() {
                tracing::error!(lease = %self.name, "no longer the leader");
                *self.held() = Held::default();
                lost.cancel();
                return;
            }
        }
    }

    /// `None`: the lease is ours. Otherwise the wait until the next try.
    async fn try_acquire(&self, last_change: &mut LastChange) -> Result<Option<Duration>, Error> {
        let lease = within("read Lease", &self.name, self.leases.get_opt(&self.name)).await?;
        last_change.note(lease.as_ref(), now());
        let step = decision::decide(
            lease,
            &self.identity,
            &self.times,
            last_change,
            (now(), wall_clock()),
        );
        let (lease, exists) = match step {
            Step::Wait(pause) => return Ok(Some(pause)),
            Step::Create(lease) => (lease, false),
            Step::Take(lease) => (lease, true),
        };
        match self.write(lease, exists).await {
            Ok(()) => Ok(None),
            // Another replica was faster.
            Err(error) if error.is_gone() => Ok(Some(self.times.retry)),
            Err(error) => Err(error),
        }
    }

    /// Whether the lease is still ours.
    async fn renew(&self) -> Result<bool, Error> {
        let Some(held) = self.held().lease.clone() else {
            return Ok(false);
        };
        match self.write(decision::renewed(held, wall_clock()), true).await {
            Ok(()) => Ok(true),
            // Somebody wrote it: another replica, or a person who annotated it.
            Err(error) if error.is_gone() => self.read_again().await,
            Err(error) => Err(error),
        }
    }

    async fn read_again(&self) -> Result<bool, Error> {
        let lease = within("read Lease", &self.name, self.leases.get_opt(&self.name)).await?;
        let still_ours = lease.filter(|lease| decision::holder(lease) == Some(&*self.identity));
        let Some(lease) = still_ours else {
            return Ok(false);
        };
        self.write(decision::renewed(lease, wall_clock()), true).await.map(|()| true)
    }

    async fn release(&self) {
        let Some(held) = self.held().lease.take() else {
            return;
        };
        self.held().until = None;
        let released = decision::released(held, wall_clock());
        let params = PostParams::default();
        let call = self.leases.replace(&self.name, &params, &released);
        if let Err(error) = within("release Lease", &self.name, call).await {
            tracing::warn!(lease = %self.name, error = error.report(), "cannot give up the lease");
        }
    }

    /// Writes the lease as it was read, with the server's check that nobody wrote it since.
    async fn write(&self, mut lease: Lease, exists: bool) -> Result<(), Error> {
        lease.metadata.name = Some(self.name.clone());
        // Counted from before the call: the server may take it over late, never early.
        let sent = now();
        let params = PostParams::default();
        let written = if exists {
            within("write Lease", &self.name, self.leases.replace(&self.name, &params, &lease))
                .await
        } else {
            within("create Lease", &self.name, self.leases.create(&params, &lease)).await
        }?;
        *self.held() = Held { lease: Some(written), until: Some(sent + self.times.renew_deadline) };
        Ok(())
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "the election is about time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the lease shows its times to people")]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}
