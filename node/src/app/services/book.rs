//! What is to be served here: the services of the file, and over them what the mesh was told at run time.
//!
//! The mesh's last word on a name holds over the file's, also when it is that there is no such service. What was said
//! last is known by its time ([`Hlc`]), which is the same at all nodes. So is who gets a host that two services of the
//! mesh claim: who was set first; the other one is left out as a whole. The file's services, which are a node's own,
//! keep their hosts at that node.

use std::collections::{BTreeMap, HashMap};

use starling_proto::purge::{Catalog, Hlc};

use crate::edge::ServiceSettings;

/// Makes settings of a definition. The error is for people.
pub type Parse = Box<dyn Fn(&str, &str) -> Result<ServiceSettings, String> + Send>;

/// The services that are known here, and how they came about.
pub struct Book {
    file: Vec<ServiceSettings>,
    parse: Parse,
    said: BTreeMap<String, Said>,
}

/// The last word of the mesh on a service.
struct Said {
    at: Hlc,
    /// None: there is to be no such service.
    definition: Option<String>,
    /// Why the definition is not understood here.
    problem: Option<String>,
    /// What was understood last, and when that was said.
    understood: Option<(Hlc, ServiceSettings)>,
}

/// A service that somebody named, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// The mesh's last word, where it is not of the file.
    pub definition: Option<String>,
    /// It as it is to be served; none when it is not.
    pub settings: Option<ServiceSettings>,
    /// Why it is not served, or not as it was said last.
    pub problem: Option<String>,
}

impl Book {
    /// A book of the file's services.
    pub fn new(file: Vec<ServiceSettings>, parse: Parse) -> Self {
        Self { file, parse, said: BTreeMap::new() }
    }

    /// Takes in what the mesh said since. Each definition is read once.
    pub fn learn(&mut self, catalog: &Catalog) {
        for change in catalog.services() {
            if self.said.get(&change.name).is_some_and(|said| said.at == change.at) {
                continue;
            }
            let before = self.said.remove(&change.name).and_then(|said| said.understood);
            let (understood, problem) =
                match change.definition.as_deref().map(|text| (self.parse)(&change.name, text)) {
                    None => (None, None),
                    Some(Ok(settings)) => (Some((change.at, settings)), None),
                    Some(Err(why)) => {
                        tracing::error!(service = change.name, why, "a definition is not understood here");
                        (before, Some(why))
                    }
                };
            let (at, definition) = (change.at, change.definition.clone());
            self.said.insert(change.name.clone(), Said { at, definition, problem, understood });
        }
    }

    /// All services that somebody named and nobody deleted: those of the file, then those of the mesh, the earlier
    /// before the later.
    pub fn list(&self) -> Vec<Listed> {
        let file = self.file.iter().filter(|service| !self.is_overridden(&service.name));
        let mut list: Vec<Listed> = file.map(|service| self.of_file(service)).collect();
        let mut owners: HashMap<&str, &str> = HashMap::new();
        for (name, settings) in self.understood() {
            let taken = first_taken(settings, &owners).map(|(host, owner)| lost(host, owner));
            if taken.is_none() {
                owners.extend(settings.hosts.iter().map(|host| (host.as_str(), name)));
            }
            list.push(self.of_mesh(name, Some(settings), taken));
        }
        let of_file: HashMap<&str, &str> = self.file_hosts().collect();
        for listed in list.iter_mut().filter(|listed| self.is_overridden(&listed.name)) {
            let taken = listed.settings.as_ref().and_then(|settings| first_taken(settings, &of_file));
            if let Some((host, owner)) = taken {
                listed.problem = Some(lost(host, owner));
                listed.settings = None;
            }
        }
        let unknown = self.said.iter().filter(|(name, said)| {
            said.definition.is_some() && said.understood.is_none() && !self.is_in_file(name)
        });
        list.extend(unknown.map(|(name, _)| self.of_mesh(name, None, None)));
        list
    }

    /// Whether a service may be set like this from here: it is understood, and its hosts are free. The hosts of a
    /// service that lost them to another count as taken, too: else an update of who has them now would move them.
    pub fn check(&self, name: &str, definition: &str) -> Result<ServiceSettings, String> {
        let settings = (self.parse)(name, definition)?;
        let mut owners: HashMap<&str, &str> = self.file_hosts().filter(|(_, owner)| *owner != name).collect();
        for (other, settings) in self.understood().filter(|(other, _)| *other != name) {
            owners.extend(settings.hosts.iter().map(|host| (host.as_str(), other)));
        }
        match first_taken(&settings, &owners) {
            None => Ok(settings),
            Some((host, owner)) => {
                Err(format!("service {name}: hosts: {host:?} belongs to the service {owner:?} already"))
            }
        }
    }

    /// What was understood of the mesh's services, in the order of its times.
    fn understood(&self) -> impl Iterator<Item = (&str, &ServiceSettings)> {
        let mut all: Vec<(Hlc, &str, &ServiceSettings)> = self
            .said
            .iter()
            .filter_map(|(name, said)| {
                said.understood.as_ref().map(|(at, settings)| (*at, name.as_str(), settings))
            })
            .collect();
        all.sort_by_key(|(at, name, _)| (*at, *name));
        all.into_iter().map(|(_, name, settings)| (name, settings))
    }

    fn file_hosts(&self) -> impl Iterator<Item = (&str, &str)> {
        let file = self.file.iter().filter(|service| !self.is_overridden(&service.name));
        file.flat_map(|service| service.hosts.iter().map(|host| (host.as_str(), service.name.as_str())))
    }

    /// Whether the file's word on a service does not count. One that the mesh redefined in a way that was never
    /// understood here is served as the file says.
    fn is_overridden(&self, name: &str) -> bool {
        self.said.get(name).is_some_and(|said| said.definition.is_none() || said.understood.is_some())
    }

    fn is_in_file(&self, name: &str) -> bool {
        self.file.iter().any(|service| service.name == name)
    }

    fn of_file(&self, service: &ServiceSettings) -> Listed {
        self.of_mesh(&service.name, Some(service), None)
    }

    fn of_mesh(&self, name: &str, settings: Option<&ServiceSettings>, lost: Option<String>) -> Listed {
        let said = self.said.get(name);
        let misread = said.and_then(|said| said.problem.as_ref()).map(|why| match settings {
            Some(_) => format!(
                "this node goes on with what it knew, as it does not understand the definition: {why}"
            ),
            None => format!("this node does not understand the definition: {why}"),
        });
        Listed {
            name: name.to_owned(),
            definition: said.and_then(|said| said.definition.clone()),
            settings: settings.filter(|_| lost.is_none()).cloned(),
            problem: lost.or(misread),
        }
    }
}

fn first_taken<'a>(
    settings: &'a ServiceSettings,
    owners: &HashMap<&str, &'a str>,
) -> Option<(&'a str, &'a str)> {
    settings.hosts.iter().find_map(|host| Some((host.as_str(), *owners.get(host.as_str())?)))
}

fn lost(host: &str, owner: &str) -> String {
    format!("it is not served: the host {host:?} belongs to the service {owner:?}, which was set before it")
}
