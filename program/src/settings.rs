//! Settings: one table for each program, from which come its flags, its help and the parsed values.
//!
//! A setting is a constant with its name, its description, what holds where it is unset, and its parser. The type says
//! how it is read: a [`Setting`] may be unset, a [`WithDefault`] always has a value, a [`Required`] one must be set.
//!
//! ```
//! use eventbus_program::settings::{Entry, Reader, Setting, WithDefault, parse};
//!
//! const WORKERS: WithDefault<u32> =
//!     Setting::new("WORKERS", "Calls at a time, 1 to 256", |text| parse::number(text, 1..=256)).or("8");
//! const TABLE: [Entry; 1] = [WORKERS.entry()];
//!
//! let lookup = |name: &str| (name == "WORKERS").then(|| "many".to_owned());
//! let mut reader = Reader::new(&lookup);
//! assert_eq!(reader.value(&WORKERS), 8);
//! let errors = reader.into_errors();
//! assert_eq!(errors[0].to_string(), r#"WORKERS="many": must be a number from 1 to 256"#);
//! assert_eq!(TABLE[0].help(), "Calls at a time, 1 to 256 [default: 8]");
//! ```

pub mod parse;
mod reader;

pub use reader::Reader;

/// A parser: the value, or what is allowed.
type Parse<T> = fn(&str) -> Result<T, String>;

/// A setting that may be unset.
pub struct Setting<T> {
    entry: Entry,
    parse: Parse<T>,
}

/// A setting that has a default.
pub struct WithDefault<T> {
    setting: Setting<T>,
    default: &'static str,
}

/// A setting that must be set.
pub struct Required<T> {
    setting: Setting<T>,
    example: &'static str,
}

/// What people need to know of a setting.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    name: &'static str,
    description: &'static str,
    unset: Unset,
}

#[derive(Clone, Copy, Debug)]
enum Unset {
    Nothing,
    Means(&'static str),
    Refused,
}

impl<T> Setting<T> {
    /// Describes the setting `name`, as an environment variable. `parse` says what is allowed in its error.
    #[must_use]
    pub const fn new(name: &'static str, description: &'static str, parse: Parse<T>) -> Self {
        Self { entry: Entry { name, description, unset: Unset::Nothing }, parse }
    }

    /// Describes what holds where it is unset.
    #[must_use]
    pub const fn unset_means(self, text: &'static str) -> Self {
        Self { entry: self.entry.unset_means(text), ..self }
    }

    /// Gives it a default, which is parsed as a value is.
    #[must_use]
    pub const fn or(self, default: &'static str) -> WithDefault<T> {
        WithDefault { setting: self.unset_means(default), default }
    }

    /// Refuses that it is unset; the refusal shows `example`.
    #[must_use]
    pub const fn required(self, example: &'static str) -> Required<T> {
        let entry = Entry { unset: Unset::Refused, ..self.entry };
        Required { setting: Self { entry, ..self }, example }
    }

    /// Returns its line of the table.
    #[must_use]
    pub const fn entry(&self) -> Entry {
        self.entry
    }
}

impl<T> WithDefault<T> {
    /// Returns its line of the table.
    #[must_use]
    pub const fn entry(&self) -> Entry {
        self.setting.entry
    }

    /// Parses the default.
    ///
    /// # Panics
    /// If the default is not allowed, which is a mistake in the table.
    #[must_use]
    pub fn default(&self) -> T {
        let parsed = (self.setting.parse)(self.default);
        parsed.unwrap_or_else(|allowed| {
            panic!("the default {} of {} {allowed}", self.default, self.setting.entry.name)
        })
    }
}

impl<T> Required<T> {
    /// Returns its line of the table.
    #[must_use]
    pub const fn entry(&self) -> Entry {
        self.setting.entry
    }
}

impl Entry {
    /// Describes a setting that is parsed elsewhere.
    #[must_use]
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        Self { name, description, unset: Unset::Nothing }
    }

    /// Describes what holds where it is unset.
    #[must_use]
    pub const fn unset_means(self, text: &'static str) -> Self {
        Self { unset: Unset::Means(text), ..self }
    }

    /// Returns the name, as an environment variable.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the flag's name: the setting's in kebab case.
    #[must_use]
    pub fn flag(&self) -> String {
        self.name.to_ascii_lowercase().replace('_', "-")
    }

    /// Returns the text for `--help`.
    #[must_use]
    pub fn help(&self) -> String {
        match self.unset {
            Unset::Nothing => self.description.to_owned(),
            Unset::Means(text) => format!("{} [default: {text}]", self.description),
            Unset::Refused => format!("{} (required)", self.description),
        }
    }
}
