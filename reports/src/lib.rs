//! The result types, and what is made of them; runs nothing.
