// The part of the CUDA runtime that the kernels use, on the CPU: the very kernel source is compiled against this.
//
// Blocks run one after the other. A block's threads are fibres that run until the next barrier, in an order shuffled anew
// each time, so that a missing barrier shows in the results. Shared memory starts as NaN and is fenced. Found and reported
// as a failed launch: a barrier that not all threads reach, threads at different barriers, a write past the end of shared
// memory.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(threads)
#define __shared__ thread_local  // declares and, in a function, defines: one block runs at a time

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

inline dim3 gridDim, blockDim, blockIdx, threadIdx;

using cudaStream_t = void*;
enum cudaError_t { cudaSuccess, cudaErrorInvalidValue, cudaErrorLaunchFailure };
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount, cudaDevAttrMaxSharedMemoryPerBlockOptin };
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes = 0;
  cudaStream_t stream = nullptr;
};

namespace emulated {

struct Device {
  int processors = 4, shared_bytes = 99 * 1024;
  std::mt19937 random{1};
  std::string error;
};
inline Device device;

struct Thread {
  ucontext_t context;
  std::unique_ptr<char[]> stack = std::make_unique<char[]>(kStack);
  dim3 index;
  int barrier;  // the source line it waits at, 0 once it has ended
  static constexpr size_t kStack = 64 * 1024;
};

inline Thread* running;
inline ucontext_t scheduler;
inline void (*body)(void*);
inline void* body_arguments;

inline void start() {
  body(body_arguments);
  running->barrier = 0;
  swapcontext(&running->context, &scheduler);
}

inline void resume(Thread& thread) {
  running = &thread;
  threadIdx = thread.index;
  swapcontext(&scheduler, &thread.context);
}

inline void barrier(int line) {
  Thread* const self = running;
  self->barrier = line;
  swapcontext(&self->context, &scheduler);
}

constexpr size_t kSharedBytes = 256 * 1024, kFence = 4096;
constexpr unsigned char kNaN = 0xff, kFenceByte = 0xa5;
inline unsigned char* shared_memory;  // of kSharedBytes + kFence, set by the program

// Runs one block; false and a reason in device.error if it breaks a rule.
inline bool run_block(std::vector<Thread>& threads, size_t shared_bytes) {
  std::memset(shared_memory, kNaN, shared_bytes);
  std::memset(shared_memory + shared_bytes, kFenceByte, kFence);
  std::vector<size_t> order(threads.size());
  std::iota(order.begin(), order.end(), 0);
  for (size_t i = 0; i < threads.size(); i++) {
    Thread& t = threads[i];
    t.index = dim3(i % blockDim.x, i / blockDim.x % blockDim.y, i / blockDim.x / blockDim.y);
    getcontext(&t.context);
    t.context.uc_stack.ss_sp = t.stack.get();
    t.context.uc_stack.ss_size = Thread::kStack;
    t.context.uc_link = nullptr;
    makecontext(&t.context, start, 0);
  }
  for (int at = -1; at != 0; at = threads[0].barrier) {
    std::shuffle(order.begin(), order.end(), device.random);
    for (const size_t i : order) resume(threads[i]);
    for (const Thread& t : threads)
      if (t.barrier != threads[0].barrier) {
        device.error = "divergent barrier: one thread at line " + std::to_string(t.barrier) + ", another at line " +
                       std::to_string(threads[0].barrier) + " (0 is the end)";
        return false;
      }
  }
  for (size_t i = 0; i < kFence; i++)
    if (shared_memory[shared_bytes + i] != kFenceByte) {
      device.error = "write past the end of shared memory, byte " + std::to_string(i);
      return false;
    }
  return true;
}

}  // namespace emulated

#define __syncthreads() emulated::barrier(__LINE__)

inline cudaError_t cudaGetDevice(int* number) {
  *number = 0;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  *value = attribute == cudaDevAttrMultiProcessorCount ? emulated::device.processors : emulated::device.shared_bytes;
  return cudaSuccess;
}
inline const char* cudaGetErrorString(cudaError_t) { return emulated::device.error.c_str(); }
template <class F> cudaError_t cudaFuncSetAttribute(F*, cudaFuncAttribute, int) { return cudaSuccess; }

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Arguments&&... arguments) {
  if (config->dynamicSmemBytes > (size_t)emulated::device.shared_bytes) {
    emulated::device.error = "more shared memory than there is";
    return cudaErrorInvalidValue;
  }
  auto call = [&] { kernel(arguments...); };
  emulated::body = [](void* c) { (*static_cast<decltype(call)*>(c))(); };
  emulated::body_arguments = &call;
  gridDim = config->gridDim;
  blockDim = config->blockDim;
  std::vector<emulated::Thread> threads(config->blockDim.x * config->blockDim.y * config->blockDim.z);
  for (unsigned b = 0; b < config->gridDim.x; b++) {
    blockIdx = dim3(b);
    if (!emulated::run_block(threads, config->dynamicSmemBytes)) return cudaErrorLaunchFailure;
  }
  return cudaSuccess;
}
