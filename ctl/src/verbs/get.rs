//! `caracalctl get KIND[,KIND…] [NAME…]`.

use caracal_proto::v1::ListRequest;
use caracal_proto::v1::resource_service_client::ResourceServiceClient;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::arguments::GetArgs;
use crate::connection::LARGEST_ANSWER;
use crate::failure::Failure;
use crate::kinds::{self, Column, Kind};
use crate::output::{Answer, Section};
use crate::table::{Cell, Table};

/// What to get.
pub(crate) struct Selection {
    kinds: Vec<&'static Kind>,
    names: Vec<String>,
}

/// Reads the arguments before anything is asked.
pub(crate) fn selection(args: &GetArgs) -> Result<Selection, Failure> {
    let kinds = kinds::parse(&args.kinds)?;
    if kinds.len() > 1 && !args.names.is_empty() {
        return Err(Failure::NamesForSeveralKinds);
    }
    Ok(Selection { kinds, names: args.names.clone() })
}

/// What was got.
pub(crate) struct Resources {
    lists: Vec<(&'static Kind, Vec<Value>)>,
    /// Whether exactly one resource was asked for by its name.
    single: bool,
}

/// Asks for one kind after another.
pub(crate) async fn ask(channel: Channel, selection: Selection) -> Result<Resources, Failure> {
    let mut client = ResourceServiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER);
    let mut lists = Vec::new();
    for kind in &selection.kinds {
        let request = ListRequest { kind: kind.plural.to_owned(), names: selection.names.clone() };
        let answer = client
            .list(request)
            .await
            .map_err(Failure::agent(format!("getting {}", kind.plural)))?
            .into_inner();
        if !answer.synced {
            anstream::eprintln!(
                "note: the agent has not reached the API server since it started; these {} are from its last good snapshot",
                kind.plural
            );
        }
        let documents: Result<Vec<Value>, _> =
            answer.documents.iter().map(|text| serde_json::from_str(text)).collect();
        let documents = documents.map_err(|source| Failure::Document { kind: kind.plural, source })?;
        lists.push((*kind, documents));
    }
    Ok(Resources { lists, single: selection.names.len() == 1 })
}

impl Serialize for Resources {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = self.lists.iter().flat_map(|(_, documents)| documents);
        if let (true, Some(only), None) = (self.single, all.next(), all.next()) {
            return only.serialize(serializer);
        }
        let items: Vec<&Value> = self.lists.iter().flat_map(|(_, documents)| documents).collect();
        json!({"apiVersion": "v1", "kind": "List", "items": items}).serialize(serializer)
    }
}

impl Answer for Resources {
    fn text(&self, wide: bool) -> Vec<Section> {
        let several = self.lists.len() > 1;
        self.lists.iter().map(|(kind, documents)| section(kind, documents, wide, several)).collect()
    }

    fn names(&self) -> Vec<String> {
        let named = |(kind, documents): &(&'static Kind, Vec<Value>)| {
            let singular = kind.singular;
            documents.iter().map(|d| format!("{singular}.caracal.dev/{}", kinds::name(d))).collect::<Vec<_>>()
        };
        self.lists.iter().flat_map(named).collect()
    }
}

fn section(kind: &Kind, documents: &[Value], wide: bool, several: bool) -> Section {
    let columns: Vec<&Column> = kind.columns.iter().filter(|c| wide || !c.wide).collect();
    let mut table = Table::new(columns.iter().map(|c| c.header));
    for document in documents {
        table.row(columns.iter().map(|c| Cell::from((c.cell)(document))));
    }
    if table.is_empty() {
        Section::Text(format!("There are no {}.", kind.plural))
    } else if several {
        Section::Titled(kind.plural.to_uppercase(), table)
    } else {
        Section::Table(table)
    }
}
