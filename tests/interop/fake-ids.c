/* Pretends that a process may take any user and group id, for servers in a user namespace that maps one id only.
 *
 * A server that logs a user in changes its ids, which the kernel refuses there (EINVAL: not mapped; EPERM:
 * setgroups). Loaded by LD_PRELOAD, this says yes and changes nothing; the server stays root of its namespace.
 */
#define _GNU_SOURCE
#include <sys/types.h>

int setuid(uid_t id) { (void)id; return 0; }
int setgid(gid_t id) { (void)id; return 0; }
int seteuid(uid_t id) { (void)id; return 0; }
int setegid(gid_t id) { (void)id; return 0; }
int setreuid(uid_t real, uid_t effective) { (void)real, (void)effective; return 0; }
int setregid(gid_t real, gid_t effective) { (void)real, (void)effective; return 0; }
int setresuid(uid_t real, uid_t effective, uid_t saved) { (void)real, (void)effective, (void)saved; return 0; }
int setresgid(gid_t real, gid_t effective, gid_t saved) { (void)real, (void)effective, (void)saved; return 0; }
int setgroups(size_t count, const gid_t *groups) { (void)count, (void)groups; return 0; }
int initgroups(const char *user, gid_t group) { (void)user, (void)group; return 0; }
int chown(const char *path, uid_t user, gid_t group) { (void)path, (void)user, (void)group; return 0; }
int lchown(const char *path, uid_t user, gid_t group) { (void)path, (void)user, (void)group; return 0; }
int fchown(int file, uid_t user, gid_t group) { (void)file, (void)user, (void)group; return 0; }
int fchownat(int dir, const char *path, uid_t user, gid_t group, int flags)
{
    (void)dir, (void)path, (void)user, (void)group, (void)flags;
    return 0;
}
