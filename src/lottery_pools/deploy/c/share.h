typedef struct {
    const float *const *inputs;
    float *const *outputs;
    int64_t batch;
    float *workspace;
    const float *floats;
    const int32_t *integers;
    team *all;
    int part, parts; /* of each operation */
    int first, step; /* of the tiles of samples */
} NAME_share;
