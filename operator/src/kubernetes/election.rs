//! Leader election on a Lease: one replica writes, the others wait.

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

/// Candidate of the election, with one identity.
pub struct Elector {
    leases: Api<Lease>,
    name: String,
    identity: String,
    times: LeaseTimes,
    own: Mutex<OwnLease>,
}

/// Lease of this replica, as it was last written.
#[derive(Default)]
struct OwnLease {
    lease: Option<Lease>,
    /// Time until which no other replica can be the leader.
    until: Option<Instant>,
}

impl Elector {
    /// Creates a candidate for the Lease `name`; `identity` is unique among all replicas and all their starts.
    #[must_use]
    pub fn new(leases: Api<Lease>, name: &str, identity: &str, times: LeaseTimes) -> Self {
        let (name, identity) = (name.to_owned(), identity.to_owned());
        Self { leases, name, identity, times, own: Mutex::default() }
    }

    /// Returns true while this replica may write.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        self.own().until.is_some_and(|until| now() < until)
    }

    /// Waits until this replica has the lease; returns false if `stop` was cancelled first.
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
                        tracing::warn!(lease = %self.name, error, "cannot acquire the lease; retrying");
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

    /// Renews the lease until `done`, then releases it, so that the next replica need not wait. If it cannot be renewed
    /// in time, cancels `lost` and returns.
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
                .own()
                .until
                .map_or(Duration::ZERO, |until| until.saturating_duration_since(now()));
            match tokio::time::timeout(limit, self.renew()).await {
                Ok(Ok(true)) => {}
                Ok(Ok(false)) => {
                    tracing::error!(lease = %self.name, "another replica acquired the lease");
                    self.own().until = None;
                }
                Ok(Err(error)) => {
                    tracing::warn!(lease = %self.name, error = error.report(), "cannot renew the lease; retrying");
                }
                Err(_) => {}
            }
            if !self.is_leading() {
                tracing::error!(lease = %self.name, "no longer the leader");
                *self.own() = OwnLease::default();
                lost.cancel();
                return;
            }
        }
    }

    /// Tries to acquire the lease. Returns `None` on success, else the wait until the next attempt.
    async fn try_acquire(&self, last_change: &mut LastChange) -> Result<Option<Duration>, Error> {
        let lease = within("read Lease", &self.name, self.leases.get_opt(&self.name)).await?;
        last_change.record(lease.as_ref(), now());
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
            Step::Replace(lease) => (lease, true),
        };
        match self.write(lease, exists).await {
            Ok(()) => Ok(None),
            // Another replica was faster.
            Err(error) if error.is_gone() => Ok(Some(self.times.retry)),
            Err(error) => Err(error),
        }
    }

    /// Renews the lease; returns false if another replica has it.
    async fn renew(&self) -> Result<bool, Error> {
        let Some(lease) = self.own().lease.clone() else {
            return Ok(false);
        };
        match self.write(decision::renewed(lease, wall_clock()), true).await {
            Ok(()) => Ok(true),
            // It was changed: by another replica, or by a person who added an annotation.
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
        let Some(lease) = self.own().lease.take() else {
            return;
        };
        self.own().until = None;
        let released = decision::released(lease, wall_clock());
        let params = PostParams::default();
        let call = self.leases.replace(&self.name, &params, &released);
        if let Err(error) = within("release Lease", &self.name, call).await {
            tracing::warn!(lease = %self.name, error = error.report(), "cannot release the lease; other replicas wait until it expires");
        }
    }

    /// Writes the lease, which the server rejects if it was changed since it was read.
    async fn write(&self, mut lease: Lease, exists: bool) -> Result<(), Error> {
        lease.metadata.name = Some(self.name.clone());
        // Counted from before the call, because the server writes the lease later than that.
        let sent = now();
        let params = PostParams::default();
        let written = if exists {
            within("write Lease", &self.name, self.leases.replace(&self.name, &params, &lease))
                .await
        } else {
            within("create Lease", &self.name, self.leases.create(&params, &lease)).await
        }?;
        let until = Some(sent + self.times.renew_deadline);
        *self.own() = OwnLease { lease: Some(written), until };
        Ok(())
    }

    fn own(&self) -> std::sync::MutexGuard<'_, OwnLease> {
        self.own.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[expect(clippy::disallowed_methods, reason = "the election is about time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "the Lease has its times for people")]
fn wall_clock() -> Timestamp {
    Timestamp::now()
}
