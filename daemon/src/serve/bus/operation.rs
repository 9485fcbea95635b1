//! `org.nixctl1.Operation`: one object for each operation, live or remembered.

use std::collections::HashMap;
use std::sync::Arc;

use nixctl_proto::{OperationId, OperationView};
use tokio::sync::watch;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{OwnedObjectPath, Value};
use zbus::{Connection, interface};

use super::objects::publish_one;
use super::{BusError, caller};
use crate::serve::Service;

/// The object of an operation.
#[derive(Debug)]
pub struct Operation {
    service: Arc<Service>,
    id: OperationId,
    view: watch::Receiver<OperationView>,
}

impl Operation {
    /// The object that shows what the receiver holds.
    pub fn new(
        service: Arc<Service>,
        id: OperationId,
        view: watch::Receiver<OperationView>,
    ) -> Self {
        Operation { service, id, view }
    }

    fn read<T>(&self, part: impl FnOnce(&OperationView) -> T) -> T {
        part(&self.view.borrow())
    }
}

#[interface(name = "org.nixctl1.Operation", introspection_docs = false)]
impl Operation {
    async fn cancel(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), BusError> {
        let caller = caller(connection, &header).await?;
        Ok(self.service.cancel(&caller, &self.id).await?)
    }

    #[zbus(out_args("operation"))]
    async fn retry(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, BusError> {
        let caller = caller(connection, &header).await?;
        let id = self.service.retry(&caller, &self.id).await?;
        publish_one(connection, &self.service, &id, true).await;
        OwnedObjectPath::try_from(id.object_path()).map_err(|error| {
            let text = format!("internal error: an operation has no path: {error}");
            nixctl_proto::Failure::new(nixctl_proto::Code::Internal, text).into()
        })
    }

    #[zbus(out_args("records"))]
    async fn journal(&self) -> Result<Vec<HashMap<&'static str, Value<'static>>>, BusError> {
        let mut rows = Vec::new();
        for line in self.service.journal(&self.id).await? {
            let mut row = HashMap::from([
                ("sequence", Value::from(line.sequence)),
                ("time", Value::from(line.time)),
                ("record", Value::from(line.record)),
                ("text", Value::from(line.text)),
            ]);
            row.extend(line.step.map(|step| ("step", Value::from(step))));
            rows.push(row);
        }
        Ok(rows)
    }

    #[zbus(signal)]
    pub async fn finished(
        emitter: &SignalEmitter<'_>,
        success: bool,
        code: &str,
        message: &str,
    ) -> zbus::Result<()>;

    #[zbus(property(emits_changed_signal = "const"))]
    async fn kind(&self) -> &'static str {
        self.read(|view| view.kind.as_str())
    }

    #[zbus(property(emits_changed_signal = "const"))]
    async fn requested_by(&self) -> u32 {
        self.read(|view| view.requested_by)
    }

    #[zbus(property(emits_changed_signal = "const"))]
    async fn reason(&self) -> String {
        self.read(|view| view.reason.clone())
    }

    #[zbus(property(emits_changed_signal = "const"))]
    async fn created(&self) -> u64 {
        self.read(|view| view.created)
    }

    #[zbus(property, name = "Finished")]
    async fn finished_at(&self) -> u64 {
        self.read(|view| view.finished.unwrap_or(0))
    }

    #[zbus(property)]
    async fn state(&self) -> &'static str {
        self.read(|view| view.state.as_str())
    }

    #[zbus(property)]
    async fn waiting_for(&self) -> String {
        self.read(|view| view.waiting_for.clone().unwrap_or_default())
    }

    #[zbus(property)]
    async fn progress(&self) -> f64 {
        self.read(|view| view.progress)
    }

    #[zbus(property)]
    async fn step(&self) -> u32 {
        self.read(|view| view.step)
    }

    #[zbus(property)]
    async fn steps(&self) -> u32 {
        self.read(|view| view.steps)
    }

    #[zbus(property)]
    async fn description(&self) -> String {
        self.read(|view| view.description.clone())
    }

    #[zbus(property)]
    async fn bytes_done(&self) -> u64 {
        self.read(|view| view.bytes_done)
    }

    #[zbus(property)]
    async fn bytes_total(&self) -> u64 {
        self.read(|view| view.bytes_total)
    }

    #[zbus(property)]
    async fn cancellable(&self) -> bool {
        self.read(|view| view.cancellable)
    }

    #[zbus(property)]
    async fn error_code(&self) -> String {
        self.read(|view| {
            view.failure
                .as_ref()
                .map_or(String::new(), |f| f.code.to_string())
        })
    }

    #[zbus(property)]
    async fn error_message(&self) -> String {
        self.read(|view| {
            view.failure
                .as_ref()
                .map_or(String::new(), |f| f.message.clone())
        })
    }

    #[zbus(property)]
    async fn error_help(&self) -> String {
        self.read(|view| {
            view.failure
                .as_ref()
                .map_or(String::new(), |f| f.help.clone())
        })
    }

    #[zbus(property)]
    async fn error_causes(&self) -> Vec<String> {
        self.read(|view| {
            view.failure
                .as_ref()
                .map_or(Vec::new(), |f| f.causes.clone())
        })
    }

    #[zbus(property)]
    async fn kept(&self) -> Vec<String> {
        self.read(|view| view.kept.clone())
    }

    #[zbus(property)]
    async fn notes(&self) -> Vec<String> {
        self.read(|view| view.notes.clone())
    }
}

/// The properties of an operation that change, for one signal with those that did. A test holds
/// them to the getters above.
pub fn properties(view: &OperationView) -> Vec<(&'static str, Value<'static>)> {
    let failure = view.failure.as_ref();
    let text = |text: Option<&String>| Value::from(text.cloned().unwrap_or_default());
    vec![
        ("Finished", Value::from(view.finished.unwrap_or(0))),
        ("State", Value::from(view.state.as_str())),
        ("WaitingFor", text(view.waiting_for.as_ref())),
        ("Progress", Value::from(view.progress)),
        ("Step", Value::from(view.step)),
        ("Steps", Value::from(view.steps)),
        ("Description", Value::from(view.description.clone())),
        ("BytesDone", Value::from(view.bytes_done)),
        ("BytesTotal", Value::from(view.bytes_total)),
        ("Cancellable", Value::from(view.cancellable)),
        (
            "ErrorCode",
            text(failure.map(|f| f.code.to_string()).as_ref()),
        ),
        ("ErrorMessage", text(failure.map(|f| &f.message))),
        ("ErrorHelp", text(failure.map(|f| &f.help))),
        (
            "ErrorCauses",
            Value::from(failure.map_or(Vec::new(), |f| f.causes.clone())),
        ),
        ("Kept", Value::from(view.kept.clone())),
        ("Notes", Value::from(view.notes.clone())),
    ]
}
