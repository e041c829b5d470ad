//! The source of a kernel, and how it is launched.

use crate::array::Dtype;

/// The parts of a kernel's source.
pub struct Source<'a> {
    /// Its name in C.
    pub name: &'a str,
    /// What `T` is.
    pub dtype: Dtype,
    /// Type and name of each input, then of each output.
    pub inputs: &'a [(&'a str, String)],
    pub outputs: &'a [(&'a str, String)],
    /// Names of the integers that follow.
    pub scalars: &'a [String],
    /// The code before it.
    pub header: &'a str,
    pub body: &'a str,
}

/// How a kernel is run.
pub struct Launch<'a> {
    pub outputs: &'a [(&'a [i32], Dtype)],
    pub scalars: &'a [i32],
    pub blocks: [usize; 3],
    pub threads: usize,
}

impl Source<'_> {
    #[cfg_attr(target_vendor = "apple", allow(dead_code))]
    pub fn text(&self) -> String {
        let name = if self.dtype == Dtype::F16 { "f16" } else { "bf16" };
        let inputs = self.inputs.iter().map(|(t, name)| format!("const {t}* {name}"));
        let outputs = self.outputs.iter().map(|(t, name)| format!("{t}* {name}"));
        let scalars = self.scalars.iter().map(|name| format!("int {name}"));
        let parameters = inputs.chain(outputs).chain(scalars).collect::<Vec<_>>().join(", ");
        let types = include_str!("types.cu");
        format!(
            "{types}\nusing T = {name};\n{}\nextern \"C\" __global__ void {}({parameters}) {{\n{}\n}}\n",
            self.header, self.name, self.body
        )
    }
}
