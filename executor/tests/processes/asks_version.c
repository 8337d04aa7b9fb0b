// Prints the version of the runtime that its loader found.
#include <stdio.h>

int cudaRuntimeGetVersion(int *version);

int main(void) {
    int version = 0;
    int code = cudaRuntimeGetVersion(&version);
    printf("%d %d\n", code, version);
    return 0;
}
