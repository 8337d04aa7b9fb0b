//! Graphs: their making, their shape, and their launch.

use crate::driver;
use crate::pointer::Out;

passed! {
    fn cudaGraphCreate(graph: Out<'_, usize>, flags: u32) = cuGraphCreate;
    fn cudaGraphDestroy(graph: usize) = cuGraphDestroy;
    fn cudaGraphClone(clone: Out<'_, usize>, graph: usize) = cuGraphClone;
    fn cudaGraphNodeFindInClone(node: Out<'_, usize>, original: usize, clone: usize) = cuGraphNodeFindInClone;
    fn cudaGraphGetNodes(graph: usize, nodes: usize, count: Out<'_, usize>) = cuGraphGetNodes;
    fn cudaGraphGetRootNodes(graph: usize, nodes: usize, count: Out<'_, usize>) = cuGraphGetRootNodes;
    fn cudaGraphGetEdges(graph: usize, from: usize, to: usize, data: usize, count: Out<'_, usize>) = cuGraphGetEdges_v2;
    fn cudaGraphNodeGetDependencies(node: usize, nodes: usize, data: usize, count: Out<'_, usize>) = cuGraphNodeGetDependencies_v2;
    fn cudaGraphNodeGetDependentNodes(node: usize, nodes: usize, data: usize, count: Out<'_, usize>) = cuGraphNodeGetDependentNodes_v2;
    fn cudaGraphAddDependencies(graph: usize, from: usize, to: usize, data: usize, count: usize) = cuGraphAddDependencies_v2;
    fn cudaGraphRemoveDependencies(graph: usize, from: usize, to: usize, data: usize, count: usize) = cuGraphRemoveDependencies_v2;
    fn cudaGraphNodeGetType(node: usize, kind: Out<'_, u32>) = cuGraphNodeGetType;
    fn cudaGraphDestroyNode(node: usize) = cuGraphDestroyNode;
    fn cudaGraphInstantiateWithFlags(exec: Out<'_, usize>, graph: usize, flags: u64) = cuGraphInstantiateWithFlags;
    fn cudaGraphExecGetFlags(exec: usize, flags: Out<'_, u64>) = cuGraphExecGetFlags;
    fn cudaGraphExecUpdate(exec: usize, graph: usize, result: usize) = cuGraphExecUpdate_v2;
    fn cudaGraphNodeSetEnabled(exec: usize, node: usize, enabled: u32) = cuGraphNodeSetEnabled;
    fn cudaGraphNodeGetEnabled(exec: usize, node: usize, enabled: Out<'_, u32>) = cuGraphNodeGetEnabled;
    fn cudaGraphExecDestroy(exec: usize) = cuGraphExecDestroy;
    fn cudaGraphDebugDotPrint(graph: usize, path: usize, flags: u32) = cuGraphDebugDotPrint;
    fn cudaUserObjectCreate(object: Out<'_, usize>, data: usize, destroy: usize, count: u32, flags: u32) = cuUserObjectCreate;
    fn cudaUserObjectRetain(object: usize, count: u32) = cuUserObjectRetain;
    fn cudaUserObjectRelease(object: usize, count: u32) = cuUserObjectRelease;
    fn cudaGraphRetainUserObject(graph: usize, object: usize, count: u32, flags: u32) = cuGraphRetainUserObject;
    fn cudaGraphReleaseUserObject(graph: usize, object: usize, count: u32) = cuGraphReleaseUserObject;
}

entries! {
    fn cudaGraphInstantiate(exec: Out<'_, usize>, graph: usize, flags: u64) {
        driver::bind()?.cuGraphInstantiateWithFlags(exec.present()?, graph, flags)
    }

    fn cudaGraphInstantiateWithParams(exec: Out<'_, usize>, graph: usize, parameters: usize) {
        driver::bind()?.cuGraphInstantiateWithParams(exec.present()?, graph, parameters)
    }

    // The upload's stream is in the structure; a program with a default stream a thread names it there.
    fn cudaGraphInstantiateWithParams_ptsz(exec: Out<'_, usize>, graph: usize, parameters: usize) {
        driver::bind()?.cuGraphInstantiateWithParams(exec.present()?, graph, parameters)
    }
}

passed_streamed! {
    fn cudaGraphUpload | cudaGraphUpload_ptsz [stream](exec: usize, stream: usize) = cuGraphUpload;
    fn cudaGraphLaunch | cudaGraphLaunch_ptsz [stream](exec: usize, stream: usize) = cuGraphLaunch;
}
