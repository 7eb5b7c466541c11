//! Listens for hints, and sends them, over a connection of its own.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_postgres::{AsyncMessage, Client};

use super::payload::Message;
use super::{CHECK, Switchboard};
use crate::store::hints::Hints;
use crate::store::postgres::connect::{Connector, Transport, unreachable};
use crate::store::{StoreError, StoreResult, within};
use crate::telemetry;

/// How long a message of this process may take to come back to it. Together with [`CHECK`] this is less than 10 s, in which
/// a connection that hears nothing any more is noticed.
const ECHO: Duration = Duration::from_secs(3);

pub(in crate::store::postgres) struct Listener {
    connector: Connector,
    channel: String,
    switchboard: Arc<Switchboard>,
}

impl Listener {
    pub(in crate::store::postgres) fn new(connector: Connector, switchboard: Arc<Switchboard>) -> Self {
        Self { channel: channel(connector.schema()), connector, switchboard }
    }

    /// The listener's whole life: one connection after the other, until the switchboard is closed.
    pub(in crate::store::postgres) async fn live(self) {
        let mut pauses = pauses();
        loop {
            let listened = self.listen().await;
            let has_listened = self.switchboard.listening.send_replace(false);
            telemetry::hints_are_heard(false);
            let Err(error) = listened else { return };
            tracing::warn!(%error, "hints of other processes are not heard just now, only looked for in each poll interval");
            if has_listened {
                pauses = self::pauses();
            }
            tokio::time::sleep(pauses.next().unwrap_or(Duration::from_secs(2))).await;
        }
    }

    /// Listens over one connection until it fails, or the switchboard is closed.
    pub(super) async fn listen(&self) -> StoreResult<()> {
        let (client, mut connection) = self.connector.listen().await?;
        let echo = watch::Sender::new(0);
        tokio::select! {
            error = self.hear(&mut connection, &echo) => Err(error),
            talked = self.talk(&client, echo.subscribe()) => talked,
        }
    }

    /// Takes in what comes. The connection also needs this to send anything.
    async fn hear(&self, connection: &mut Transport, echo: &watch::Sender<u64>) -> StoreError {
        loop {
            match poll_fn(|cx| connection.poll_message(cx)).await {
                Some(Ok(message)) => {
                    if let AsyncMessage::Notification(notification) = message
                        && let Some(number) = self.switchboard.hear(notification.payload())
                    {
                        echo.send_replace(number);
                    }
                }
                Some(Err(error)) => return unreachable(&error),
                None => return StoreError::Unavailable("the connection was closed".to_owned()),
            }
        }
    }

    /// Begins to listen, and tells what there is to tell.
    async fn talk(&self, client: &Client, mut echo: watch::Receiver<u64>) -> StoreResult<()> {
        let listen = format!("LISTEN \"{}\"", self.channel);
        within(ECHO, async { client.batch_execute(&listen).await.map_err(|error| unreachable(&error)) }).await?;
        self.switchboard.listening.send_replace(true);
        telemetry::hints_are_heard(true);
        // Nothing is missed from now on; what was told before, in either direction, may have been.
        self.switchboard.deliver(Hints::everything());
        let mut next = Some(Hints { work: true, news: Hints::everything().news, ..self.switchboard.outbox.take() });
        let mut hello = true;
        while let Some(hints) = next {
            let number = self.switchboard.said.fetch_add(1, Ordering::Relaxed) + 1;
            let message = Message { sender: self.switchboard.me, number, hello, hints };
            hello = false;
            let said = Instant::now();
            if let Err(error) = within(ECHO, self.say(client, &message, &mut echo)).await {
                self.switchboard.outbox.put_all(message.hints);
                return Err(error);
            }
            next = tokio::time::timeout_at(said + CHECK, self.switchboard.outbox.next(said))
                .await
                .unwrap_or(Some(Hints::default()));
        }
        Ok(())
    }

    /// Sends a message, and waits until it comes back: then this connection both speaks and hears.
    async fn say(&self, client: &Client, message: &Message, echo: &mut watch::Receiver<u64>) -> StoreResult<()> {
        // The message consists of letters and digits.
        let notify = format!("NOTIFY \"{}\", '{message}'", self.channel);
        client.batch_execute(&notify).await.map_err(|error| unreachable(&error))?;
        echo.wait_for(|number| *number >= message.number).await.map(drop).map_err(|error| unreachable(&error))
    }
}

/// One channel for each schema. A name of Postgres has at most 63 bytes, and a schema's may be as long as that.
pub(super) fn channel(schema: &str) -> String {
    let hash = Sha256::digest(schema);
    let digits: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("greenroom_{digits}")
}

fn pauses() -> backon::ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(50))
        .with_max_delay(Duration::from_secs(1))
        .without_max_times()
        .with_jitter()
        .build()
}

#[cfg(test)]
mod tests {
    use super::{CHECK, Duration, ECHO};

    #[test]
    fn a_connection_that_hears_nothing_is_noticed_within_ten_seconds() {
        assert!(CHECK + ECHO < Duration::from_secs(10));
    }
}
