//! Who gets what, where each gets one and none is given twice: matchings in bipartite graphs, by augmenting paths.

use std::collections::HashMap;

use farrier_common::id::MachineId;

/// Can each of `needs` have a device of its own that `meets` it?
pub(super) fn each_its_own<N, D>(needs: &[N], devices: &[D], meets: impl Fn(&N, &D) -> bool) -> bool {
    if needs.len() > devices.len() {
        return false;
    }
    let fitting = |need: &N| (0..devices.len()).filter(|d| meets(need, &devices[*d])).collect();
    let edges: Vec<Vec<usize>> = needs.iter().map(fitting).collect();
    let mut taken = vec![None; devices.len()];
    (0..needs.len()).all(|need| augment(need, &edges, &mut taken, &mut vec![false; devices.len()]))
}

/// Gives `need` a device, moving others to devices that suit them as well where that is needed. The stack is as deep as
/// there are needs, which the API bounds.
fn augment(need: usize, edges: &[Vec<usize>], taken: &mut [Option<usize>], seen: &mut [bool]) -> bool {
    for &device in &edges[need] {
        if std::mem::replace(&mut seen[device], true) {
            continue;
        }
        if taken[device].is_none_or(|other| augment(other, edges, taken, seen)) {
            taken[device] = Some(need);
            return true;
        }
    }
    false
}

/// So many machines of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// The machines that fit, the cheapest first.
    pub candidates: Vec<MachineId>,
    /// How many of them.
    pub count: usize,
}

/// Which machines each group should get: as many in all as is possible, the earlier group and the cheaper machine first.
/// A group that could do with other machines makes way for one that could not.
#[must_use]
pub fn assign(groups: &[Group]) -> Vec<Vec<MachineId>> {
    let mut numbers: HashMap<MachineId, usize> = HashMap::new();
    let mut ids = Vec::new();
    let mut edges: Vec<Vec<usize>> = Vec::with_capacity(groups.len());
    for group in groups {
        let number = |id: &MachineId| {
            *numbers.entry(*id).or_insert_with(|| {
                ids.push(*id);
                ids.len() - 1
            })
        };
        edges.push(group.candidates.iter().map(number).collect());
    }
    let mut taken: Vec<Option<usize>> = vec![None; ids.len()];
    let mut next = vec![0; groups.len()];
    for (group, wanted) in groups.iter().enumerate() {
        for _ in 0..wanted.count {
            // The cheapest free one, as long as there is one; else whatever a chain of moves sets free.
            while next[group] < edges[group].len() && taken[edges[group][next[group]]].is_some() {
                next[group] += 1;
            }
            if let Some(&free) = edges[group].get(next[group]) {
                taken[free] = Some(group);
            } else if !make_way(group, &edges, &mut taken) {
                break;
            }
        }
    }
    let mine = |group: usize| {
        let of = edges[group].iter().filter(|m| taken[**m] == Some(group));
        of.map(|m| ids[*m]).collect()
    };
    (0..groups.len()).map(mine).collect()
}

/// Takes one machine more for `group` from a group that can have another one instead, by the shortest chain of moves.
fn make_way(group: usize, edges: &[Vec<usize>], taken: &mut [Option<usize>]) -> bool {
    // From which group, by taking which machine from it, each group was come to.
    let mut came: Vec<Option<(usize, usize)>> = vec![None; edges.len()];
    let mut queue = std::collections::VecDeque::from([group]);
    while let Some(at) = queue.pop_front() {
        for &machine in &edges[at] {
            match taken[machine] {
                None => {
                    let (mut to, mut gets) = (at, machine);
                    // Back along the chain: each gets what was found for it and gives up what the one before it wants.
                    while to != group {
                        taken[gets] = Some(to);
                        let Some((from, gives)) = came[to] else { return false };
                        (to, gets) = (from, gives);
                    }
                    taken[gets] = Some(group);
                    return true;
                }
                Some(holder) if holder != group && came[holder].is_none() => {
                    came[holder] = Some((at, machine));
                    queue.push_back(holder);
                }
                Some(_) => {}
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// All ways, tried one after the other.
    fn possible(needs: &[u64], devices: &mut Vec<u64>) -> bool {
        let Some((need, rest)) = needs.split_first() else { return true };
        (0..devices.len()).any(|d| {
            devices[d] & need != 0 && {
                let device = devices.remove(d);
                let found = possible(rest, devices);
                devices.insert(d, device);
                found
            }
        })
    }

    /// The most that can be given, by trying everything.
    fn most(slots: &[(usize, &Vec<usize>)], free: &mut Vec<bool>) -> usize {
        let Some(((_, edges), rest)) = slots.split_first() else { return 0 };
        let mut best = most(rest, free);
        for &m in *edges {
            if std::mem::replace(&mut free[m], false) {
                best = best.max(1 + most(rest, free));
                free[m] = true;
            }
        }
        best
    }

    proptest! {
        #[test]
        fn devices_are_matched_exactly_when_it_is_possible(
            needs in prop::collection::vec(1_u64..16, 0..5),
            mut devices in prop::collection::vec(1_u64..16, 0..6),
        ) {
            let found = each_its_own(&needs, &devices, |n, d| n & d != 0);
            prop_assert_eq!(found, possible(&needs, &mut devices));
        }

        #[test]
        fn as_many_machines_are_assigned_as_is_possible(
            wants in prop::collection::vec((1_usize..3, prop::collection::btree_set(0_usize..5, 0..5)), 1..4),
        ) {
            let ids: Vec<MachineId> = (0..5).map(|_| MachineId::generate()).collect();
            let edges: Vec<Vec<usize>> = wants.iter().map(|(_, set)| set.iter().copied().collect()).collect();
            let group = |(n, (count, _)): (usize, &(usize, _))| Group {
                candidates: edges[n].iter().map(|m| ids[*m]).collect(),
                count: *count,
            };
            let groups: Vec<Group> = wants.iter().enumerate().map(group).collect();
            let got = assign(&groups);
            let mut all: Vec<MachineId> = got.concat();
            let slots: Vec<_> = wants.iter().enumerate().flat_map(|(n, w)| vec![(n, &edges[n]); w.0]).collect();
            prop_assert_eq!(all.len(), most(&slots, &mut vec![true; 5]));
            for (group, got) in groups.iter().zip(&got) {
                prop_assert!(got.len() <= group.count && got.iter().all(|m| group.candidates.contains(m)));
            }
            all.sort();
            all.dedup();
            prop_assert_eq!(all.len(), got.concat().len(), "none is given twice");
        }
    }

    #[test]
    fn a_group_that_can_have_others_makes_way() {
        let ids: Vec<MachineId> = (0..3).map(|_| MachineId::generate()).collect();
        let groups = [
            Group { candidates: vec![ids[0], ids[1], ids[2]], count: 1 },
            Group { candidates: vec![ids[0]], count: 1 },
        ];
        assert_eq!(assign(&groups), [vec![ids[1]], vec![ids[0]]]);
    }
}
