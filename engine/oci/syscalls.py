"""Which system calls a container may make: the policy of Docker's default profile, by topic.

An allow-list, as data. Everything not named here fails with EPERM: loading modules, the kernel keyring, mounting,
new namespaces, swapping, rebooting, io_uring, and whatever a future kernel brings. The shorthand `{a,b}c` stands for
`ac bc`, as in a shell; `{,f}chown` for `chown fchown`. Names that exist on one architecture only are harmless on
others: a runtime skips what its libseccomp does not know. Pure data; `engine.oci.seccomp` makes a profile of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

_ALWAYS = """
    read{,v} write{,v} pread{64,v,v2} pwrite{64,v,v2} lseek _llseek readahead readlink{,at} sendfile{,64} splice tee
    vmsplice copy_file_range fadvise64{,_64} cachestat

    open{,at,at2} creat close{,_range} dup{,2,3} pipe{,2} fcntl{,64} flock ioctl name_to_handle_at memfd_create
    memfd_secret

    access faccessat{,2} {,f,l}stat{,64} fstatat64 newfstatat statx {,f}statfs{,64}
    {,f}chmod fchmodat{,2} {,f,l}chown{,32} fchownat {,f}truncate{,64} umask utime{,s} utimensat{,_time64} futimesat
    {,f}chdir getcwd link{,at} symlink{,at} unlink{,at} rename{,at,at2} mkdir{,at} rmdir mknod{,at}
    getdents{,64} readdir
    fallocate {,f,l}{get,set,list,remove}xattr {get,list,remove,set}xattrat file_{get,set}attr

    sync syncfs fsync fdatasync sync_file_range{,2} msync io_{setup,destroy,submit,cancel} io_getevents
    io_pgetevents{,_time64} ioprio_{get,set}

    select _newselect pselect6{,_time64} poll ppoll{,_time64} 
    epoll_{create,create1,ctl,ctl_old,wait,wait_old,pwait,pwait2}
    eventfd{,2} inotify_{init,init1,add_watch,rm_watch} fanotify_mark signalfd{,4} timerfd_create
    timerfd_{gettime,settime}{,64}

    brk mmap{,2} munmap mprotect mremap madvise mincore mlock{,2,all} munlock{,all} mseal membarrier remap_file_pages
    map_shadow_stack pkey_{alloc,free,mprotect}

    bind listen accept{,4} connect socketcall socketpair shutdown getsockname getpeername getsockopt setsockopt
    send{,to,msg,mmsg} recv{,from,msg,mmsg} recvmmsg_time64

    fork vfork execve{,at} exit{,_group} wait4 waitid waitpid prctl ptrace process_vm_{readv,writev} process_mrelease
    set_tid_address set_thread_area get_thread_area {get,set}_robust_list rseq restart_syscall
    kill tkill tgkill pidfd_{open,send_signal} pause signal sigaction sigaltstack sigpending sigprocmask sigreturn
    sigsuspend rt_sig{action,pending,procmask,queueinfo,return,suspend,timedwait} rt_sigtimedwait_time64
    rt_tgsigqueueinfo alarm seccomp landlock_{create_ruleset,add_rule,restrict_self}
    lsm_{get_self_attr,set_self_attr,list_modules}

    futex{,_time64,_waitv,_wait,_wake,_requeue} ipc
    msg{ctl,get,rcv,snd} sem{ctl,get,op} semtimedop{,_time64} shm{at,ctl,dt,get}
    mq_{getsetattr,notify,open,unlink} mq_timed{receive,send}{,_time64}

    sched_{get,set}{affinity,attr,param,scheduler} sched_get_priority_{max,min} sched_rr_get_interval{,_time64}
    sched_yield nice getpriority setpriority getcpu getrlimit ugetrlimit setrlimit prlimit64 getrusage times

    time gettimeofday nanosleep clock_{gettime,adjtime}{,64} clock_getres{,_time64} clock_nanosleep{,_time64}
    adjtimex getitimer setitimer timer_{create,delete,getoverrun} timer_{gettime,settime}{,64}

    get{p,pp,t}id get{e,}{u,g}id{,32} getres{u,g}id{,32} set{u,g}id{,32} setre{u,g}id{,32} setres{u,g}id{,32}
    setfs{u,g}id{,32} {get,set}groups{,32} getpgid getpgrp setpgid getsid setsid capget capset

    uname sysinfo getrandom uretprobe
"""

# Calls that a capability unlocks. What the capability allows, the call may do anyway.
_WITH_CAPABILITY = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYS_ADMIN": """
        bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount mount_setattr move_mount
        open_tree listmount statmount perf_event_open quotactl{,_fd} setdomainname sethostname setns syslog
        umount{,2} unshare""",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "{delete,init,finit}_module",
    "CAP_SYS_NICE": "{get,set}_mempolicy mbind set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "settimeofday stime clock_settime{,64}",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYSLOG": "syslog",
}

_ON_MACHINE = {
    "x86_64": "arch_prctl modify_ldt",
    "i686": "modify_ldt",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls",
    "armv7l": "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls",
    "ppc64le": "swapcontext",
    "riscv64": "riscv_flush_icache riscv_hwprobe",
    "s390x": "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr",
}


def _expand(text: str) -> Iterator[str]:
    for word in text.split():
        pieces: list[list[str]] = []
        for part in word.replace("{", "}{").split("}"):
            pieces.append(part[1:].split(",") if part.startswith("{") else [part])
        yield from ("".join(choice) for choice in product(*pieces))


ALWAYS: tuple[str, ...] = tuple(dict.fromkeys(_expand(_ALWAYS)))
WITH_CAPABILITY: Mapping[str, tuple[str, ...]] = {
    name: tuple(_expand(calls)) for name, calls in _WITH_CAPABILITY.items()
}
ON_MACHINE: Mapping[str, tuple[str, ...]] = {name: tuple(_expand(calls)) for name, calls in _ON_MACHINE.items()}
