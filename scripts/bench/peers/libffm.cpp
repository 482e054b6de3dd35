// What libffm_worker.py asks of libffm: its own functions, which the shared object in the package pylibffm exports, by the interface of its ffm.h.
//
// That package's Python functions are not used: what its predict gives is 0.5 for every row.

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

namespace ffm {
typedef float ffm_float;
typedef int ffm_int;
struct ffm_node {
    ffm_int f, j;
    ffm_float v;
};
struct ffm_model {
    ffm_int n, m, k;
    ffm_float* W;
    bool normalization;
    ~ffm_model();
};
struct ffm_parameter {
    ffm_float eta, lambda;
    ffm_int nr_iters, k;
    bool normalization, auto_stop;
};
void ffm_read_problem_to_disk(std::string text, std::string binary);
ffm_model ffm_train_on_disk(std::string train, std::string valid, ffm_parameter parameter);
ffm_float ffm_predict(ffm_node* begin, ffm_node* end, ffm_model& model);
}  // namespace ffm

static ffm::ffm_node* parsed(char* line, std::vector<ffm::ffm_node>& row) {
    row.clear();
    strtok(line, " \t\n");  // the label
    while (char* field = strtok(nullptr, ": \t\n")) {
        char *feature = strtok(nullptr, ": \t\n"), *value = strtok(nullptr, ": \t\n");
        row.push_back({atoi(field), atoi(feature), static_cast<float>(atof(value))});
    }
    return row.data();
}

extern "C" void read_problem(const char* text, const char* binary) { ffm::ffm_read_problem_to_disk(text, binary); }

// Train on a binary problem, then write a probability a line of the rows of a text.
extern "C" int train_and_predict(const char* binary, const char* test, const char* scores, float eta, float lambda, int iterations, int k, int normalise) {
    ffm::ffm_model model = ffm::ffm_train_on_disk(binary, "", {eta, lambda, iterations, k, normalise != 0, false});
    FILE *rows = fopen(test, "r"), *out = fopen(scores, "w");
    if (!rows || !out) return 1;
    std::vector<ffm::ffm_node> row;
    char* line = nullptr;
    size_t room = 0;
    while (getline(&line, &room, rows) > 0) {
        ffm::ffm_node* begin = parsed(line, row);
        fprintf(out, "%.9g\n", ffm::ffm_predict(begin, begin + row.size(), model));
    }
    free(line);
    fclose(rows);
    return fclose(out);
}
