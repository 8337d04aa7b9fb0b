//! Graphs: their making, their shape, and their launch.

use crate::driver;
use crate::pointer::{HostFunction, In, InOut, Opaque, Out, Text};
use crate::types::{EdgeData, GraphExecUpdateResultInfo, GraphInstantiateParams};

passed! {
    sync fn cudaGraphCreate(graph: Out<'_, usize>, flags: u32) = cuGraphCreate;
    post fn cudaGraphDestroy(graph: usize) = cuGraphDestroy;
    sync fn cudaGraphClone(clone: Out<'_, usize>, graph: usize) = cuGraphClone;
    sync fn cudaGraphNodeFindInClone(node: Out<'_, usize>, original: usize, clone: usize) = cuGraphNodeFindInClone;
    sync fn cudaGraphGetNodes(graph: usize, nodes[count]: Out<'_, usize>, count: InOut<'_, usize>) = cuGraphGetNodes;
    sync fn cudaGraphGetRootNodes(graph: usize, nodes[count]: Out<'_, usize>, count: InOut<'_, usize>) = cuGraphGetRootNodes;
    sync fn cudaGraphGetEdges(graph: usize, from[count]: Out<'_, usize>, to[count]: Out<'_, usize>, data[count]: Out<'_, EdgeData>, count: InOut<'_, usize>) = cuGraphGetEdges_v2;
    sync fn cudaGraphNodeGetDependencies(node: usize, nodes[count]: Out<'_, usize>, data[count]: Out<'_, EdgeData>, count: InOut<'_, usize>) = cuGraphNodeGetDependencies_v2;
    sync fn cudaGraphNodeGetDependentNodes(node: usize, nodes[count]: Out<'_, usize>, data[count]: Out<'_, EdgeData>, count: InOut<'_, usize>) = cuGraphNodeGetDependentNodes_v2;
    sync fn cudaGraphAddDependencies(graph: usize, from[count]: In<'_, usize>, to[count]: In<'_, usize>, data[count]: In<'_, EdgeData>, count: usize) = cuGraphAddDependencies_v2;
    sync fn cudaGraphRemoveDependencies(graph: usize, from[count]: In<'_, usize>, to[count]: In<'_, usize>, data[count]: In<'_, EdgeData>, count: usize) = cuGraphRemoveDependencies_v2;
    sync fn cudaGraphNodeGetType(node: usize, kind: Out<'_, u32>) = cuGraphNodeGetType;
    sync fn cudaGraphDestroyNode(node: usize) = cuGraphDestroyNode;
    sync fn cudaGraphInstantiateWithFlags(exec: Out<'_, usize>, graph: usize, flags: u64) = cuGraphInstantiateWithFlags;
    local fn cudaGraphExecGetFlags(exec: usize, flags: Out<'_, u64>) = cuGraphExecGetFlags;
    sync fn cudaGraphExecUpdate(exec: usize, graph: usize, result: Out<'_, GraphExecUpdateResultInfo>) = cuGraphExecUpdate_v2;
    sync fn cudaGraphNodeSetEnabled(exec: usize, node: usize, enabled: u32) = cuGraphNodeSetEnabled;
    sync fn cudaGraphNodeGetEnabled(exec: usize, node: usize, enabled: Out<'_, u32>) = cuGraphNodeGetEnabled;
    post fn cudaGraphExecDestroy(exec: usize) = cuGraphExecDestroy;
    sync fn cudaGraphDebugDotPrint(graph: usize, path: Text, flags: u32) = cuGraphDebugDotPrint;
    local fn cudaUserObjectCreate(object: Out<'_, usize>, data: Opaque, destroy: HostFunction, count: u32, flags: u32) = cuUserObjectCreate;
    local fn cudaUserObjectRetain(object: usize, count: u32) = cuUserObjectRetain;
    local fn cudaUserObjectRelease(object: usize, count: u32) = cuUserObjectRelease;
    local fn cudaGraphRetainUserObject(graph: usize, object: usize, count: u32, flags: u32) = cuGraphRetainUserObject;
    local fn cudaGraphReleaseUserObject(graph: usize, object: usize, count: u32) = cuGraphReleaseUserObject;
}

entries! {
    sync fn cudaGraphInstantiate(exec: Out<'_, usize>, graph: usize, flags: u64) {
        driver::bind()?.cuGraphInstantiateWithFlags(exec.present()?, graph, flags)
    }

    sync fn cudaGraphInstantiateWithParams(exec: Out<'_, usize>, graph: usize, parameters: InOut<'_, GraphInstantiateParams>) {
        driver::bind()?.cuGraphInstantiateWithParams(exec.present()?, graph, parameters)
    }

    // The upload's stream is in the structure; a program with a default stream a thread names it there.
    sync fn cudaGraphInstantiateWithParams_ptsz(exec: Out<'_, usize>, graph: usize, parameters: InOut<'_, GraphInstantiateParams>) {
        driver::bind()?.cuGraphInstantiateWithParams(exec.present()?, graph, parameters)
    }
}

passed_streamed! {
    post fn cudaGraphUpload | cudaGraphUpload_ptsz [stream](exec: usize, stream: usize) = cuGraphUpload;
    post fn cudaGraphLaunch | cudaGraphLaunch_ptsz [stream](exec: usize, stream: usize) = cuGraphLaunch;
}
