//! Active health checks: each origin is asked for a path now and then, apart from the traffic.

use super::{
    member::Member,
    request::{DrawnBody, empty},
    settings::HealthSettings,
    target::Outgoing,
};
use http::StatusCode;
use tokio::time::timeout;

/// What the checks have found of one origin. Healthy until they say otherwise.
#[derive(Debug, Default)]
pub(super) struct Vitals {
    unhealthy: bool,
    /// Checks in a row that contradict the verdict.
    against: u32,
}

impl Vitals {
    /// The verdict.
    pub(super) fn healthy(&self) -> bool {
        !self.unhealthy
    }

    /// Takes a check into account; true when it turned the verdict.
    pub(super) fn record(&mut self, good: bool, settings: &HealthSettings) -> bool {
        if good != self.unhealthy {
            self.against = 0;
            return false;
        }
        self.against += 1;
        let needed = if good { settings.healthy_after } else { settings.unhealthy_after };
        let turned = self.against >= needed;
        if turned {
            self.unhealthy = !good;
            self.against = 0;
        }
        turned
    }
}

/// Asks once, on a connection of its own: whether new connections succeed is part of the question.
pub(super) async fn check(member: &Member, outgoing: &Outgoing, settings: &HealthSettings) -> bool {
    let asked = async {
        let mut connection = member.connections.take(true).await.ok()?;
        let body = DrawnBody::new(empty(), Some(0));
        let request = if connection.is_http2() { outgoing.http2(body) } else { outgoing.http1(body) };
        connection.send(request).await.ok().map(|response| response.status())
    };
    let (low, high) = settings.status_range;
    let in_range = |status: StatusCode| (low..=high).contains(&status.as_u16());
    timeout(settings.timeout, asked).await.ok().flatten().is_some_and(in_range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_checks_in_a_row_turn_the_verdict() {
        let settings = HealthSettings { healthy_after: 2, unhealthy_after: 3, ..HealthSettings::default() };
        let mut vitals = Vitals::default();
        for good in [false, false, true, false, false] {
            assert!(!vitals.record(good, &settings));
            assert!(vitals.healthy());
        }
        assert!(vitals.record(false, &settings));
        assert!(!vitals.healthy());
        assert!(!vitals.record(true, &settings));
        assert!(!vitals.record(false, &settings));
        assert!(!vitals.record(true, &settings));
        assert!(vitals.record(true, &settings));
        assert!(vitals.healthy());
    }
}
