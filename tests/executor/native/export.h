// How a launch reaches a kernel: EXECUTOR_EXPORT(name), written after the kernels, defines an entry point that unpacks
// an array of pointers to arguments, and a function that describes the parameters.
#pragma once

namespace executor {

template <class... Parameters, size_t... I>
EXECUTOR_PLAIN inline void call(void (*kernel)(Parameters...), void** arguments, std::index_sequence<I...>) {
    kernel(*(std::decay_t<Parameters>*)arguments[I]...);
}
template <class... Parameters>
EXECUTOR_PLAIN inline void call(void (*kernel)(Parameters...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<Parameters...>{});
}

template <class T>
constexpr char kind_of() {
    if (std::is_same_v<T, bool>) return 'b';
    if (std::is_floating_point_v<T>) return 'f';
    if (std::is_integral_v<T>) return std::is_unsigned_v<T> ? 'u' : 'i';
    return 'V';
}

// "pointer, constant or scalar; kind, size, alignment" of each parameter; constant: a pointer to what is only read.
template <class Parameter>
EXECUTOR_PLAIN inline int describe(char* text) {
    if constexpr (std::is_pointer_v<Parameter>) {
        using Pointed = std::remove_cv_t<std::remove_pointer_t<Parameter>>;
        const char* form = std::is_const_v<std::remove_pointer_t<Parameter>> ? "constant" : "pointer";
        if constexpr (std::is_void_v<Pointed>) return sprintf(text, "%s V 1 1,", form);
        else return sprintf(text, "%s %c %zu %zu,", form, kind_of<Pointed>(), sizeof(Pointed), alignof(Pointed));
    } else {
        return sprintf(text, "scalar %c %zu %zu,", kind_of<Parameter>(), sizeof(Parameter), alignof(Parameter));
    }
}
template <class... Parameters>
EXECUTOR_PLAIN inline void describe(void (*)(Parameters...), char* text) {
    *text = 0;
    ((text += describe<std::decay_t<Parameters>>(text)), ...);
}
}  // namespace executor

#define EXECUTOR_EXPORT(name)                                                                            \
    extern "C" EXECUTOR_PLAIN void executor_entry_##name(void** arguments) { executor::call(&name, arguments); } \
    extern "C" EXECUTOR_PLAIN void executor_describe_##name(char* text) { executor::describe(&name, text); }
