#!/bin/sh
#HAL --spread=node
# An MPI program on the nodes of a gang, with MPICH (Debian: mpich), without ssh or passwords between them:
#     hal submit --nodes 2 --ntasks 4 mpi.sh ./program
# The first node runs mpiexec, which only says what every node must start; each node finds its line in a directory
# that all share.
meeting=$HAL_SUBMIT_DIR/.mpi.$HAL_JOB_ID.$HAL_ATTEMPT
mkdir -p "$meeting"
if [ "$HAL_NODE_RANK" = 0 ]; then
    mpiexec -launcher manual -localhost "$MASTER_ADDR" -hosts "$HAL_NODE_ADDRESSES" -n "$HAL_TASK_COUNT" "$@" \
        < /dev/null | sed -u 's/^HYDRA_LAUNCH_END//' | while IFS= read -r line; do
        case $line in
        "HYDRA_LAUNCH: "*)
            rank=${line##*--proxy-id }
            echo "${line#HYDRA_LAUNCH: }" > "$meeting/new"
            mv "$meeting/new" "$meeting/${rank% }" ;;
        *) echo "$line" ;;
        esac
    done &
fi
until [ -e "$meeting/$HAL_NODE_RANK" ]; do sleep 0.1; done
sh "$meeting/$HAL_NODE_RANK"
code=$?
wait
exit $code
