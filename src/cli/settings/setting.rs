//! What one setting is: its flag, whose it is, how it is given, what holds without it.

/// Which command a setting belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `baton gateway`.
    Gateway,
    /// `baton worker`.
    Worker,
    /// `baton dev`, and `baton` alone.
    Dev,
    /// `baton doctor`, which takes the settings of every role that serves.
    Doctor,
    /// `baton call`.
    Call,
    /// `baton key`.
    Key,
    /// `baton migrate`.
    Migrate,
}

impl Role {
    /// The command's word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Worker => "worker",
            Self::Dev => "dev",
            Self::Doctor => "doctor",
            Self::Call => "call",
            Self::Key => "key",
            Self::Migrate => "migrate",
        }
    }
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The flag without its dashes.
    pub flag: &'static str,
    /// Whose it is.
    pub roles: &'static [Role],
    /// How it is given.
    pub shape: Shape,
    /// What it is for, in one sentence without a full stop.
    pub help: &'static str,
    default: Default,
    exception: Option<(Role, Default)>,
    file_key: Option<&'static str>,
    scope: Scope,
    secret: bool,
}

/// How a setting is given. The word in capitals stands for the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A flag without a value; variables and files say `true` or `false`.
    Switch,
    /// Once.
    One(&'static str),
    /// A whole number between two, both included.
    Number(u64, u64),
    /// As often as wanted; variables separate by commas, files hold an array.
    Many(&'static str),
    /// Like [`Shape::Many`], of `NAME=NUMBER`; files may hold a table.
    ManyNamed(&'static str),
}

impl Shape {
    /// Whether it may be given more than once.
    pub const fn is_list(self) -> bool {
        matches!(self, Self::Many(_) | Self::ManyNamed(_))
    }

    /// What stands for the value in help.
    pub const fn placeholder(self) -> Option<&'static str> {
        match self {
            Self::Switch => None,
            Self::Number(..) => Some("N"),
            Self::One(word) | Self::Many(word) | Self::ManyNamed(word) => Some(word),
        }
    }
}

/// What holds when nobody says anything.
#[derive(Clone, Copy, Debug)]
enum Default {
    /// This, read like a given value.
    Value(&'static str),
    /// No value; help says what that means.
    Unset(&'static str),
}

/// Where a setting may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Everywhere,
    FlagOrVariable,
    FlagOnly,
}

impl Setting {
    pub(super) const fn new(
        flag: &'static str,
        roles: &'static [Role],
        shape: Shape,
        help: &'static str,
    ) -> Self {
        let default = match shape {
            Shape::Switch => Default::Value("false"),
            _ => Default::Unset("none"),
        };
        let scope = Scope::Everywhere;
        Self {
            flag,
            roles,
            shape,
            help,
            default,
            exception: None,
            file_key: None,
            scope,
            secret: false,
        }
    }

    /// A default value.
    pub(super) const fn or(mut self, value: &'static str) -> Self {
        self.default = Default::Value(value);
        self
    }

    /// No default value; the words say what holds instead.
    pub(super) const fn otherwise(mut self, words: &'static str) -> Self {
        self.default = Default::Unset(words);
        self
    }

    /// Another default value for one role.
    pub(super) const fn but(mut self, role: Role, value: &'static str) -> Self {
        self.exception = Some((role, Default::Value(value)));
        self
    }

    /// No default value for one role; the words say what holds instead.
    pub(super) const fn but_otherwise(mut self, role: Role, words: &'static str) -> Self {
        self.exception = Some((role, Default::Unset(words)));
        self
    }

    /// Another path in the file than the flag's own name.
    pub(super) const fn in_file_as(mut self, path: &'static str) -> Self {
        self.file_key = Some(path);
        self
    }

    pub(super) const fn flag_or_variable(mut self) -> Self {
        self.scope = Scope::FlagOrVariable;
        self
    }

    pub(super) const fn flag_only(mut self) -> Self {
        self.scope = Scope::FlagOnly;
        self
    }

    /// Its value is never repeated in a message.
    pub(super) const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Whether the command takes it.
    pub fn belongs_to(&self, role: Role) -> bool {
        let serves = |it: &Role| matches!(it, Role::Gateway | Role::Worker | Role::Dev);
        self.roles.contains(&role) || role == Role::Doctor && self.roles.iter().any(serves)
    }

    /// Whether a person sets it for a deployment, rather than for one command.
    pub fn is_deployment(&self) -> bool {
        self.scope != Scope::FlagOnly
    }

    /// The variable's name, if it has one.
    pub fn variable(&self) -> Option<String> {
        let name = || format!("BATON_{}", self.flag.replace('-', "_").to_ascii_uppercase());
        (self.scope != Scope::FlagOnly).then(name)
    }

    /// The file's key, if it has one; a dot leads into a table.
    pub fn file_key(&self) -> Option<String> {
        let key = || self.file_key.map_or_else(|| self.flag.replace('-', "_"), str::to_owned);
        (self.scope == Scope::Everywhere).then(key)
    }

    /// Whether its value is the path of a file.
    pub fn names_file(&self) -> bool {
        self.shape.placeholder() == Some("FILE")
    }

    /// Whether its value stays out of every message.
    pub fn is_secret(&self) -> bool {
        self.secret
    }

    /// The default value for a role.
    pub fn default_value(&self, role: Role) -> Option<&'static str> {
        match self.default_for(role) {
            Default::Value(value) => Some(value),
            Default::Unset(_) => None,
        }
    }

    /// The default for a role, as a person reads it.
    pub fn default_words(&self, role: Role) -> &'static str {
        match (self.default_for(role), self.shape) {
            (Default::Value("true"), Shape::Switch) => "on",
            (Default::Value("false"), Shape::Switch) => "off",
            (Default::Value(words) | Default::Unset(words), _) => words,
        }
    }

    /// The role whose default is another one.
    pub fn exception(&self) -> Option<Role> {
        self.exception.map(|(role, _)| role)
    }

    fn default_for(&self, role: Role) -> Default {
        match self.exception {
            Some((exception, default)) if exception == role => default,
            _ => self.default,
        }
    }
}
