mod expects;
mod files;
mod parser;
