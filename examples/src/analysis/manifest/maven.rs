//! `pom.xml`.

use roxmltree::{Document, Node};

use super::{Declaration, Manifest, Place, Unreadable};
use crate::analysis::text::{Source, directory, join, shown};

/// A property may refer to another; a longer chain is a circle.
const MAX_STEPS: usize = 8;

pub(super) fn parse(path: &str, source: &Source<'_>) -> Result<Manifest, Unreadable> {
    let document = Document::parse(source.body()).map_err(|error| Unreadable {
        line: usize::try_from(error.pos().row).ok(),
        reason: shown(&error.to_string()),
    })?;
    let project = document.root_element();
    if project.tag_name().name() != "project" {
        return Err(Unreadable { line: Some(1), reason: "the root element is not `project`".to_owned() });
    }
    let pom = Pom { source, project };
    let mut manifest = Manifest { parent: parent_path(path, project), ..Manifest::default() };
    let profiles = child(project, "profiles").into_iter().flat_map(|all| elements(all, "profile"));
    for scope in std::iter::once(project).chain(profiles) {
        let managed = child(scope, "dependencyManagement").and_then(|node| child(node, "dependencies"));
        for dependency in managed.into_iter().flat_map(|all| elements(all, "dependency")) {
            if let Some(declaration) = pom.declaration(dependency, scope, &mut manifest.unread) {
                if declaration.requirement.is_some() {
                    manifest.offers.insert(declaration.package.clone());
                }
                manifest.declarations.push(declaration);
            }
        }
        let direct = child(scope, "dependencies");
        for dependency in direct.into_iter().flat_map(|all| elements(all, "dependency")) {
            manifest.declarations.extend(pom.declaration(dependency, scope, &mut manifest.unread));
        }
    }
    Ok(manifest)
}

struct Pom<'a, 'input> {
    source: &'a Source<'input>,
    project: Node<'a, 'input>,
}

impl<'a, 'input> Pom<'a, 'input> {
    fn declaration(
        &self,
        dependency: Node<'a, 'input>,
        scope: Node<'a, 'input>,
        unread: &mut Vec<(usize, String)>,
    ) -> Option<Declaration> {
        let line = self.line(dependency);
        let part =
            |name: &str| child(dependency, name).and_then(content).map(|text| self.filled(text, scope));
        let (Some(group), Some(artifact)) = (part("groupId"), part("artifactId")) else {
            unread.push((line, "a dependency without groupId or artifactId".to_owned()));
            return None;
        };
        let package = format!("{group}:{artifact}");
        let declared = |line, requirement, place| {
            Some(Declaration { package: package.clone(), alias: None, line, requirement, place })
        };
        let Some(version) = child(dependency, "version") else {
            return declared(line, None, Place::Elsewhere(package.clone()));
        };
        let mut node = version;
        for _ in 0..MAX_STEPS {
            let line = self.line(node);
            let Some((text, at)) = self.text(node) else {
                let reason = "its version is written in parts or with entities".to_owned();
                return declared(line, None, Place::Fixed(reason));
            };
            let Some(name) = property_name(text) else {
                let place = if text.contains("${") {
                    Place::Fixed(format!("its version `{}` is put together from properties", shown(text)))
                } else if let Some(user) = self.other_user(node, &group) {
                    Place::Fixed(format!("its version is a property that {user} uses too"))
                } else {
                    Place::At(at)
                };
                let requirement = (!text.contains("${")).then(|| text.to_owned());
                return declared(line, requirement, place);
            };
            match self.property(name, scope) {
                Some(next) => node = next,
                None => {
                    let reason = format!("its version `{}` is not defined in this pom", shown(text));
                    return declared(line, None, Place::Fixed(reason));
                }
            }
        }
        declared(line, None, Place::Fixed("its version's properties refer to each other".to_owned()))
    }

    fn line(&self, node: Node<'_, '_>) -> usize {
        self.source.line(self.source.offset(node.range().start))
    }

    /// The text of an element and its place in the file, if it is one piece that can be replaced.
    fn text(&self, node: Node<'a, 'input>) -> Option<(&'input str, usize)> {
        let mut children = node.children();
        let (only, None) = (children.next()?, children.next()) else { return None };
        let range = only.range();
        let raw = self.source.body().get(range.clone())?;
        if !only.is_text() || raw.contains(['&', '<']) {
            return None;
        }
        let start = range.start + raw.len() - raw.trim_start().len();
        Some((raw.trim(), self.source.offset(start)))
    }

    /// A property of the profile, else of the project.
    fn property(&self, name: &str, scope: Node<'a, 'input>) -> Option<Node<'a, 'input>> {
        let own = |node| child(node, "properties").and_then(|properties| child(properties, name));
        own(scope).or_else(|| own(self.project))
    }

    /// Group and artifact names with the project's coordinates and the pom's properties filled in.
    fn filled(&self, text: &str, scope: Node<'a, 'input>) -> String {
        let mut text = text.to_owned();
        for _ in 0..MAX_STEPS {
            let Some(start) = text.find("${") else { break };
            let Some(length) = text[start..].find('}') else { break };
            let name = &text[start + 2..start + length];
            let coordinate = name.strip_prefix("project.").or_else(|| name.strip_prefix("pom."));
            let value = match coordinate {
                Some(field) => child(self.project, field)
                    .or_else(|| child(self.project, "parent").and_then(|parent| child(parent, field))),
                None => self.property(name, scope),
            };
            let Some(value) = value.and_then(content) else { break };
            text.replace_range(start..=start + length, value);
        }
        text
    }

    /// Whoever else would get another version if this property were changed: anything that is not of the same group.
    fn other_user(&self, property: Node<'a, 'input>, group: &str) -> Option<String> {
        if property.parent().is_none_or(|parent| parent.tag_name().name() != "properties") {
            return None;
        }
        let reference = format!("${{{}}}", property.tag_name().name());
        let users = self.project.descendants().filter(|node| {
            let in_text = node.is_text() && node.text().is_some_and(|text| text.contains(&reference));
            in_text || node.attributes().any(|attribute| attribute.value().contains(&reference))
        });
        for user in users {
            let element = if user.is_text() { user.parent() } else { Some(user) };
            let owner = element.and_then(|element| element.parent());
            let scope = self.project;
            let owner_group = owner.and_then(|owner| child(owner, "groupId")).and_then(content);
            let same = element.is_some_and(|element| element.tag_name().name() == "version")
                && owner.is_some_and(|owner| owner.tag_name().name() == "dependency")
                && owner_group.is_some_and(|other| self.filled(other, scope) == group);
            let forwards = owner.is_some_and(|owner| owner.tag_name().name() == "properties");
            if !same && !forwards {
                let what = owner.and_then(|owner| child(owner, "artifactId")).and_then(content);
                return Some(match what {
                    Some(artifact) => format!("`{}`", shown(artifact)),
                    None => format!("line {}", self.line(user)),
                });
            }
        }
        None
    }
}

fn elements<'a, 'input>(node: Node<'a, 'input>, name: &str) -> impl Iterator<Item = Node<'a, 'input>> {
    node.children().filter(move |child| child.is_element() && child.tag_name().name() == name)
}

/// By local name: poms are written with and without their namespace.
fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    elements(node, name).next()
}

fn content<'a>(node: Node<'a, '_>) -> Option<&'a str> {
    node.text().map(str::trim).filter(|text| !text.is_empty())
}

/// `name` of a text that is `${name}` and nothing else.
fn property_name(text: &str) -> Option<&str> {
    let name = text.strip_prefix("${")?.strip_suffix('}')?;
    (!name.contains(['{', '}'])).then_some(name)
}

/// The parent's file, as Maven looks for it.
fn parent_path(path: &str, project: Node<'_, '_>) -> Option<String> {
    let parent = child(project, "parent")?;
    let relative = match child(parent, "relativePath") {
        // Empty on purpose: the parent is in a registry.
        Some(node) => content(node)?,
        None => "../pom.xml",
    };
    let file = if relative.ends_with(".xml") { relative.to_owned() } else { join(relative, "pom.xml") };
    let mut parts: Vec<&str> = directory(path).split('/').filter(|part| !part.is_empty()).collect();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}
