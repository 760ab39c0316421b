// Memory that a thread keeps from one call to the next, in huge pages where the system has them.

#pragma once

#include <cstddef>
#include <cstdlib>

#ifdef __linux__
#include <sys/mman.h>
#endif

class Kept {
  public:
    ~Kept() { std::free(at); }
    template <class T>
    T* of(size_t count) {
        const size_t page = size_t(2) << 20, bytes = (count * sizeof(T) + page - 1) / page * page;
        if (bytes > size) {
            std::free(at);
            at = std::aligned_alloc(page, bytes);
            size = bytes;
#ifdef __linux__
            madvise(at, bytes, MADV_HUGEPAGE);
#endif
        }
        return static_cast<T*>(at);
    }

  private:
    void* at = nullptr;
    size_t size = 0;
};
