//! Executable graphs, and tensor maps.

use crate::api::{InstantiateParams, UpdateResult};
use crate::live::Live;
use cudarc::driver::sys::CUtensorMap;
use ringbar_backend::Context;
use ringbar_vocabulary::*;

/// `CUDA_GRAPH_INSTANTIATE_FLAG_UPLOAD`: needs a stream of its own, which the command does not name.
const FLAG_UPLOAD: u64 = 2;
/// The most numbers of a tensor map's arguments: five dimensions of each list.
const NUMBERS_MAX: usize = 40;
const RANK_MAX: usize = 5;

impl Live {
    pub fn graph_instantiate(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphInstantiate,
    ) -> Result<GraphInstantiateReply, Status> {
        if c.exec.0 == 0 {
            return Err(Status::INVALID_VALUE);
        }
        self.graphs.execs.check_new(c.exec.0)?;
        let graph = self.graphs.graph(c.graph)?;
        let mut raw = 0;
        let flags = c.flags & !FLAG_UPLOAD;
        let mut params = InstantiateParams { flags, ..InstantiateParams::default() };
        match self.api.cuGraphInstantiateWithParams(&mut raw, graph, &mut params) {
            Err(Status::NOT_SUPPORTED) if params.result == 0 => {
                self.api.cuGraphInstantiateWithFlags(&mut raw, graph, flags)?;
            }
            other => other?,
        }
        self.graphs.execs.insert(c.exec.0, raw);
        let node = self.graphs.known_number(params.error_node);
        Ok(GraphInstantiateReply { node, result: params.result })
    }

    /// The call's own status is in the reply: a graph that does not fit is an answer and not a failure of the command.
    pub fn graph_exec_update(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphExecUpdate,
    ) -> Result<GraphExecUpdateReply, Status> {
        let (exec, graph) = (self.graphs.exec(c.exec)?, self.graphs.graph(c.graph)?);
        let mut result = UpdateResult::default();
        let updated = self.api.cuGraphExecUpdate_v2(exec, graph, &mut result);
        let status = Status::of(&updated);
        if status.is_sticky() {
            return Err(status);
        }
        Ok(GraphExecUpdateReply {
            node: self.graphs.known_number(result.error_node),
            from: self.graphs.known_number(result.error_from_node),
            result: result.result,
            status: status.0,
        })
    }

    pub fn graph_upload(&mut self, _cx: &mut Context<'_>, c: GraphUpload) -> Result<(), Status> {
        let stream = self.stream(c.stream)?;
        self.api.cuGraphUpload(self.graphs.exec(c.exec)?, stream)
    }

    pub fn graph_launch(&mut self, _cx: &mut Context<'_>, c: GraphLaunch) -> Result<(), Status> {
        let stream = self.stream(c.stream)?;
        self.counts.launches += 1;
        self.api.cuGraphLaunch(self.graphs.exec(c.exec)?, stream)
    }

    pub fn graph_exec_destroy(
        &mut self,
        _cx: &mut Context<'_>,
        c: GraphExecDestroy,
    ) -> Result<(), Status> {
        let raw = self.graphs.execs.remove(c.exec.0)?;
        self.api.cuGraphExecDestroy(raw)
    }

    pub fn tensor_map_encode(
        &mut self,
        cx: &mut Context<'_>,
        c: TensorMapEncode<'_>,
    ) -> Result<TensorMapEncodeReply, Status> {
        self.enter(ContextId::FIRST)?;
        cx.check_arena(c.map)?;
        let mut scratch = Vec::new();
        let bytes = cx.tail(c.arguments, &mut scratch, NUMBERS_MAX * 8)?;
        let mut numbers = Numbers::of(bytes)?;
        let mut map = CUtensorMap { opaque: [0; 16] };
        match c.kind {
            0 => self.encode_tiled(&mut map, &mut numbers)?,
            1 => self.encode_im2col(&mut map, &mut numbers)?,
            2 => {
                map.opaque = numbers.take::<16>(16)?;
                let at = std::ptr::without_provenance_mut(numbers.one()? as usize);
                // SAFETY: a map of this frame; the address is the device's and not followed.
                unsafe { self.api.cuTensorMapReplaceAddress(&mut map, at) }?;
            }
            _ => return Err(Status::INVALID_VALUE),
        }
        let bytes: Vec<u8> = map.opaque.iter().flat_map(|word| word.to_le_bytes()).collect();
        let place = c.map.part(0, bytes.len() as u64).ok_or(Status::INVALID_VALUE)?;
        cx.write_arena(place, &bytes)?;
        Ok(TensorMapEncodeReply {})
    }

    fn encode_tiled(&self, map: &mut CUtensorMap, numbers: &mut Numbers) -> Result<(), Status> {
        let (kind, rank, at) = (numbers.small()?, numbers.rank()?, numbers.one()?);
        let sizes = numbers.take::<RANK_MAX>(rank)?;
        let strides = numbers.take::<RANK_MAX>(rank - 1)?;
        let boxes = numbers.take_small::<RANK_MAX>(rank)?;
        let steps = numbers.take_small::<RANK_MAX>(rank)?;
        let (interleave, swizzle) = (numbers.small()?, numbers.small()?);
        let (l2, fill) = (numbers.small()?, numbers.small()?);
        let at = std::ptr::without_provenance_mut(at as usize);
        // SAFETY: lists of this frame, each of five places, of which the driver reads at most `rank`.
        unsafe {
            self.api.cuTensorMapEncodeTiled(
                map,
                kind,
                rank as u32,
                at,
                sizes.as_ptr(),
                strides.as_ptr(),
                boxes.as_ptr(),
                steps.as_ptr(),
                interleave,
                swizzle,
                l2,
                fill,
            )
        }
    }

    fn encode_im2col(&self, map: &mut CUtensorMap, numbers: &mut Numbers) -> Result<(), Status> {
        let (kind, rank, at) = (numbers.small()?, numbers.rank()?, numbers.one()?);
        let sizes = numbers.take::<RANK_MAX>(rank)?;
        let strides = numbers.take::<RANK_MAX>(rank - 1)?;
        let corners = rank.saturating_sub(2);
        let lower = numbers.take::<RANK_MAX>(corners)?.map(|corner| corner as i32);
        let upper = numbers.take::<RANK_MAX>(corners)?.map(|corner| corner as i32);
        let (channels, pixels) = (numbers.small()?, numbers.small()?);
        let steps = numbers.take_small::<RANK_MAX>(rank)?;
        let (interleave, swizzle) = (numbers.small()?, numbers.small()?);
        let (l2, fill) = (numbers.small()?, numbers.small()?);
        let at = std::ptr::without_provenance_mut(at as usize);
        // SAFETY: as in `encode_tiled`.
        unsafe {
            self.api.cuTensorMapEncodeIm2col(
                map,
                kind,
                rank as u32,
                at,
                sizes.as_ptr(),
                strides.as_ptr(),
                lower.as_ptr(),
                upper.as_ptr(),
                channels,
                pixels,
                steps.as_ptr(),
                interleave,
                swizzle,
                l2,
                fill,
            )
        }
    }
}

/// Arguments that travel as whole words.
struct Numbers<'a>(std::slice::Iter<'a, [u8; 8]>);

impl<'a> Numbers<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, Status> {
        match bytes.as_chunks::<8>() {
            (words, []) => Ok(Self(words.iter())),
            _ => Err(Status::INVALID_VALUE),
        }
    }

    fn one(&mut self) -> Result<u64, Status> {
        self.0.next().map(|word| u64::from_le_bytes(*word)).ok_or(Status::INVALID_VALUE)
    }

    fn small(&mut self) -> Result<u32, Status> {
        u32::try_from(self.one()?).map_err(|_| Status::INVALID_VALUE)
    }

    fn rank(&mut self) -> Result<usize, Status> {
        let rank = self.one()? as usize;
        if (1..=RANK_MAX).contains(&rank) { Ok(rank) } else { Err(Status::INVALID_VALUE) }
    }

    /// The next `count` numbers, zeros behind them.
    fn take<const N: usize>(&mut self, count: usize) -> Result<[u64; N], Status> {
        let mut found = [0; N];
        found.iter_mut().take(count).try_for_each(|place| self.one().map(|one| *place = one))?;
        Ok(found)
    }

    fn take_small<const N: usize>(&mut self, count: usize) -> Result<[u32; N], Status> {
        let mut found = [0; N];
        found.iter_mut().take(count).try_for_each(|place| self.small().map(|one| *place = one))?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_taken_in_order_and_never_beyond_their_end() {
        let bytes: Vec<u8> =
            [3_u64, 10, 20, 30, 1 << 32].iter().flat_map(|n| n.to_le_bytes()).collect();
        let mut numbers = Numbers::of(&bytes).unwrap();
        let rank = numbers.rank().unwrap();
        assert_eq!(numbers.take::<RANK_MAX>(rank), Ok([10, 20, 30, 0, 0]));
        assert_eq!(numbers.small(), Err(Status::INVALID_VALUE), "too large");
        assert_eq!(numbers.one(), Err(Status::INVALID_VALUE), "the end");
        assert!(Numbers::of(&bytes[..12]).is_err());
        for rank in [0_u64, 6] {
            assert!(Numbers::of(&rank.to_le_bytes()).unwrap().rank().is_err());
        }
    }
}
