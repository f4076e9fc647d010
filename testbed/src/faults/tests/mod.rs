mod disk;
mod nodes;
mod text;
