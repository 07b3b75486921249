//! Soft labels from a hierarchy of the classes.
//!
//! The classes are the leaves of a tree. The height of a node is the number of edges down to its furthest leaf;
//! d(y, k) is the height of the lowest node above both y and k, divided by the height of the root: 0 for y = k,
//! 1 for classes that only the root joins. Target of label y: q_k ∝ exp(−β·d(y, k)).
//! β = 0 is uniform; the larger β, the closer to one-hot.
//!
//! Source: Bertinetto, Mueller, Tertikas, Samangooei, Lord, "Making Better Mistakes: Leveraging Class Hierarchies with
//! Deep Networks", CVPR 2020, section 3.2. Their figures: mistakes become milder (hierarchical distance of the top 5
//! on CIFAR-100 2.25 → 1.29) and more frequent (top-1 77.85 → 74.34 %).

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use softlabel_core::Error as Core;

use crate::distribution::{check_count, softmax};
use crate::{ClassMatrix, Error, Result};

/// A tree whose leaves are the classes.
///
/// In serialized form its parent links, see [`from_parents`](Self::from_parents).
///
/// ```
/// use softlabel_targets::ClassTree;
///
/// let tree = ClassTree::from_paths(&[
///     vec!["animal", "pet"], // cat
///     vec!["animal", "pet"], // dog
///     vec!["animal"],        // wolf
///     vec!["plant"],         // oak
/// ])?;
/// assert_eq!(tree.distances()[..4], [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]);
/// # Ok::<(), softlabel_targets::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<usize>", into = "Vec<usize>")]
pub struct ClassTree {
    parents: Vec<usize>,
    classes: usize,
}

impl ClassTree {
    /// From the parent of every node. The first K nodes are the classes; the root is its own parent.
    ///
    /// `[3, 3, 4, 4, 4]`: classes 0 and 1 under node 3, class 2 and node 3 under the root 4.
    ///
    /// # Errors
    /// If there are no nodes, a parent is none of them, there is not exactly one root, a node does not reach it, or
    /// the nodes without children are not the first ones.
    pub fn from_parents(parents: Vec<usize>) -> Result<Self> {
        const WHAT: &str = "class tree";
        let nodes = parents.len();
        let wrong =
            |expected: &str, found: String| Err(Core::mismatch(WHAT, expected, found).into());
        if nodes == 0 {
            return Err(Core::Empty { what: WHAT }.into());
        }
        if let Some(node) = parents.iter().position(|&parent| parent >= nodes) {
            let found = format!("parent {} of node {node} among {nodes} nodes", parents[node]);
            return wrong("parents that are nodes", found);
        }
        let roots = (0..nodes).filter(|&node| parents[node] == node).count();
        if roots != 1 {
            return wrong("one root, which is its own parent", format!("{roots}"));
        }
        let mut is_leaf = vec![true; nodes];
        for (node, &parent) in parents.iter().enumerate() {
            is_leaf[parent] &= parent == node;
        }
        let classes = is_leaf.iter().take_while(|&&leaf| leaf).count();
        if let Some(later) = is_leaf[classes..].iter().position(|&leaf| leaf) {
            let found = format!("{classes} of them and then node {}", classes + later);
            return wrong("the nodes without children first", found);
        }
        // With one root, a node that does not reach it is on or under a cycle; following n links leads there.
        let mut reached = parents.clone();
        for _ in 0..usize::BITS - nodes.leading_zeros() {
            reached = reached.iter().map(|&node| reached[node]).collect();
        }
        if let Some(node) = reached.iter().position(|&end| parents[end] != end) {
            return wrong("a way from every node to the root", format!("none from node {node}"));
        }
        Ok(Self { parents, classes })
    }

    /// From the groups that each class is in, outermost first: class k is a leaf in the last group of `paths[k]`.
    ///
    /// A group is known by its name and the groups around it. An empty path is a class right under the root.
    ///
    /// # Errors
    /// If there are no classes.
    pub fn from_paths<T: AsRef<str>>(paths: &[Vec<T>]) -> Result<Self> {
        let classes = paths.len();
        if classes == 0 {
            return Err(Core::Empty { what: "class tree" }.into());
        }
        // A single class is a root without children; otherwise the root follows the classes.
        let root = classes;
        let mut parents = vec![root; classes + 1];
        let mut groups: HashMap<(usize, &str), usize> = HashMap::new();
        for (class, path) in paths.iter().enumerate() {
            let mut above = root;
            for name in path {
                let next = parents.len();
                let group = *groups.entry((above, name.as_ref())).or_insert(next);
                if group == next {
                    parents.push(above);
                }
                above = group;
            }
            parents[class] = above;
        }
        Self::from_parents(parents)
    }

    /// K, the number of leaves.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The parent of every node, the classes first.
    pub fn parents(&self) -> &[usize] {
        &self.parents
    }

    /// d(y, k), row-major K×K: the height of the lowest node above both, divided by the height of the root.
    pub fn distances(&self) -> Vec<f64> {
        let nodes = self.parents.len();
        let mut heights = vec![0_usize; nodes];
        for class in 0..self.classes {
            for (height, node) in self.way_up(class).enumerate() {
                heights[node] = heights[node].max(height);
            }
        }
        let highest = heights.iter().copied().max().unwrap_or(0).max(1) as f64;
        let mut distances = vec![0.0; self.classes * self.classes];
        let mut above = vec![false; nodes];
        for label in 0..self.classes {
            self.way_up(label).for_each(|node| above[node] = true);
            for other in 0..self.classes {
                let joined = self.way_up(other).find(|&node| above[node]).unwrap_or(other);
                distances[label * self.classes + other] = heights[joined] as f64 / highest;
            }
            self.way_up(label).for_each(|node| above[node] = false);
        }
        distances
    }

    /// The node and everything above it.
    fn way_up(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(Some(node), |&node| Some(self.parents[node]).filter(|&up| up != node))
    }
}

impl TryFrom<Vec<usize>> for ClassTree {
    type Error = Error;

    fn try_from(parents: Vec<usize>) -> Result<Self> {
        Self::from_parents(parents)
    }
}

impl From<ClassTree> for Vec<usize> {
    fn from(tree: ClassTree) -> Self {
        tree.parents
    }
}

/// Targets that fall off with the distance in a tree: q_k ∝ exp(−β·d(y, k)).
///
/// As a prior with ε = 1 these are the soft labels of Bertinetto et al. 2020.
#[derive(Debug, Clone, PartialEq)]
pub struct Hierarchy {
    tree: ClassTree,
    beta: f64,
}

impl Hierarchy {
    /// A tree and how fast the target falls off in it.
    ///
    /// # Errors
    /// If `beta` is negative or not finite.
    pub fn new(tree: ClassTree, beta: f64) -> Result<Self> {
        check_count("beta", beta)?;
        Ok(Self { tree, beta })
    }

    /// The tree.
    pub fn tree(&self) -> &ClassTree {
        &self.tree
    }

    /// β.
    pub fn beta(&self) -> f64 {
        self.beta
    }

    /// The target of every label.
    ///
    /// ```
    /// use softlabel_targets::{ClassTree, Hierarchy};
    ///
    /// let tree = ClassTree::from_parents(vec![3, 3, 4, 4, 4])?;
    /// // Half as much for half the height: exp(-β/2) = 1/2.
    /// let matrix = Hierarchy::new(tree, 4.0f64.ln())?.matrix();
    /// let row = &matrix.as_slice()[..3];
    /// assert!((row[1] / row[0] - 0.5).abs() < 1e-15);
    /// assert!((row[2] / row[0] - 0.25).abs() < 1e-15);
    /// # Ok::<(), softlabel_targets::Error>(())
    /// ```
    pub fn matrix(&self) -> ClassMatrix {
        let classes = self.tree.classes();
        let scores: Vec<f64> = self.tree.distances().iter().map(|d| -self.beta * d).collect();
        ClassMatrix::from_rows(scores.chunks_exact(classes).flat_map(softmax).collect(), classes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_tree_is_refused() {
        for (bad, expected) in [
            (vec![], "class tree is empty"),
            (vec![2, 2, 5], "parent 5 of node 2 among 3 nodes"),
            (vec![0, 1], "one root, which is its own parent, found 2"),
            (vec![1, 0], "one root, which is its own parent, found 0"),
            (vec![1, 1, 1], "nodes without children first, found 1 of them and then node 2"),
            (vec![2, 3, 2, 4, 3], "none from node 1"),
        ] {
            let error = ClassTree::from_parents(bad).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(ClassTree::from_paths::<&str>(&[]).is_err());
    }

    #[test]
    fn equal_names_in_other_groups_are_other_groups() {
        let tree =
            ClassTree::from_paths(&[vec!["a", "x"], vec!["b", "x"], vec!["a", "x"]]).unwrap();
        let distances = tree.distances();
        assert_eq!(distances[..3], [0.0, 1.0, 1.0 / 3.0]);
        assert_eq!(tree.classes(), 3);
    }

    #[test]
    fn a_single_class_and_a_flat_tree() {
        assert_eq!(ClassTree::from_parents(vec![0]).unwrap().distances(), [0.0]);
        assert_eq!(ClassTree::from_paths(&[Vec::<String>::new()]).unwrap().distances(), [0.0]);
        let flat = ClassTree::from_parents(vec![3, 3, 3, 3]).unwrap();
        assert_eq!(flat.distances()[..3], [0.0, 1.0, 1.0]);
        let uniform = Hierarchy::new(flat, 0.0).unwrap().matrix();
        assert_eq!(uniform.row(2).unwrap(), [1.0 / 3.0; 3]);
    }

    proptest! {
        /// In a tree whose leaves are all at the same depth, the height of the joining node is what the paths no
        /// longer share.
        #[test]
        fn distances_are_what_the_paths_do_not_share(
            paths in prop::collection::vec(prop::collection::vec(0..3_u8, 3), 1..12)
        ) {
            let names = |path: &Vec<u8>| path.iter().map(u8::to_string).collect::<Vec<_>>();
            let named: Vec<_> = paths.iter().map(names).collect();
            let distances = ClassTree::from_paths(&named).unwrap().distances();
            for (y, a) in paths.iter().enumerate() {
                for (k, b) in paths.iter().enumerate() {
                    let shared = a.iter().zip(b).take_while(|(a, b)| a == b).count();
                    let expected = if y == k { 0.0 } else { (4 - shared) as f64 / 4.0 };
                    prop_assert_eq!(distances[y * paths.len() + k], expected);
                }
            }
        }
    }
}
