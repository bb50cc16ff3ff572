// What Python calls: every operator by its name, behind a guard through which nothing is thrown.
#include <cstring>
#include <new>
#include <stdexcept>

#include "operators.h"

enum Outcome { DONE, OUT_OF_MEMORY, OUT_OF_RANGE };

template <auto operation>
struct Guard;

template <class... Args, void (*operation)(Args...)>
struct Guard<operation> {
  static int call(Args... args) {
    try {
      operation(args...);
    } catch (const std::out_of_range&) {
      return OUT_OF_RANGE;
    } catch (const std::exception&) {  // bad_alloc, or the length_error of an absurd size
      return OUT_OF_MEMORY;
    }
    return DONE;
  }
};

struct Entry {
  const char* name;
  void* address;
};

#define ENTRY(name) \
  { #name, (void*)&Guard<&name>::call }

// The address of an operator's guard, or null.
extern "C" __attribute__((visibility("default"))) void* nitrogen_operator(const char* name) {
  static const Entry entries[] = {
      ENTRY(plan_rows), ENTRY(norm_modulate), ENTRY(depthwise), ENTRY(row_mlp), ENTRY(gated_add),
      ENTRY(row_linear), ENTRY(row_attention), ENTRY(region_stats), ENTRY(ode_exit),
      ENTRY(mlp_block), ENTRY(attention_block), ENTRY(preconditioning), ENTRY(conditioning),
      ENTRY(stem), ENTRY(head), ENTRY(down), ENTRY(up), ENTRY(region_features), ENTRY(predict),
      ENTRY(network), ENTRY(allocate), ENTRY(plan_step), ENTRY(run_steps),
  };
  for (const Entry& entry : entries)
    if (std::strcmp(entry.name, name) == 0) return entry.address;
  return nullptr;
}
