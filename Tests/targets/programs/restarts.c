/* One thread for each system call that waits. On "go" all of them wait once: some until a time is over, some until "end" gives
 * them what they wait for. "tell" answers with a line for each: name, thread, result, error and milliseconds.
 *
 * usage: restarts MILLISECONDS DIRECTORY [no-restart]
 * no-restart: under a filter that ends the process for restart_syscall(2). */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "no_restart.h"

int dozen(void);

struct message {
  long type;
  char text[64];
};

static long ms;
static int quiet[2], bell[2], bell_epoll;       /* pipes: nothing ever comes in; something does at the end */
static int timed_receiver[2], timed_sender[2]; /* socket pairs with time limits */
static int timed_listener, crowded, flock_holder, record_holder;
static struct sockaddr_un crowded_address = {.sun_family = AF_UNIX};
static socklen_t crowded_length = sizeof crowded_address;
static int epoll, semaphores, queue, full_queue, child_gate[2], locked_file, record_file, event, fifo_end, words[2];
static int answered_pipe[2], draining_pipe[2], stream[2], listener, terminal, keyboard;
static pid_t child, other_child;
static char fifo_path[256];
static struct sockaddr_in address = {.sin_family = AF_INET};
static aio_context_t events;
static mqd_t messages = -1;
static sem_t never, soon;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;

static struct timespec span(void) { return (struct timespec){ms / 1000, ms % 1000 * 1000000}; }

static struct timespec until(clockid_t clock) {
  struct timespec now, wait = span();
  clock_gettime(clock, &now);
  now.tv_sec += wait.tv_sec + (now.tv_nsec + wait.tv_nsec) / 1000000000;
  now.tv_nsec = (now.tv_nsec + wait.tv_nsec) % 1000000000;
  return now;
}

static long error_of(int error) {
  errno = error;
  return error ? -1 : 0;
}

static sigset_t only(int number) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  return set;
}

/* Calls that end when their time is over. */
static long do_poll(void) { return poll(&(struct pollfd){.fd = quiet[0], .events = POLLIN}, 1, (int)ms); }
static long do_ppoll(void) {
  struct timespec wait = span();
  sigset_t set = only(SIGUSR2);
  return ppoll(&(struct pollfd){.fd = quiet[0], .events = POLLIN}, 1, &wait, &set);
}
static long do_select(void) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(quiet[0], &set);
  return select(quiet[0] + 1, &set, NULL, NULL, &(struct timeval){ms / 1000, ms % 1000 * 1000});
}
static long do_pselect(void) {
  struct timespec wait = span();
  sigset_t mask = only(SIGUSR2);
  fd_set set;
  FD_ZERO(&set);
  FD_SET(quiet[0], &set);
  return pselect(quiet[0] + 1, &set, NULL, NULL, &wait, &mask);
}
static long do_epoll_wait(void) { return epoll_wait(epoll, &(struct epoll_event){0}, 1, (int)ms); }
static long do_epoll_pwait(void) {
  sigset_t set = only(SIGUSR2);
  return epoll_pwait(epoll, &(struct epoll_event){0}, 1, (int)ms, &set);
}
static long do_nanosleep(void) {
  struct timespec wait = span();
  return nanosleep(&wait, NULL);
}
static long do_nanosleep_rest(void) {
  struct timespec wait = span(), rest;
  return nanosleep(&wait, &rest);
}
static long do_clock_nanosleep(void) {
  struct timespec wait = span();
  return error_of(clock_nanosleep(CLOCK_MONOTONIC, 0, &wait, NULL));
}
static long do_clock_nanosleep_rest(void) {
  struct timespec wait = span(), rest;
  return syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &wait, &rest);
}
static long do_clock_nanosleep_until(void) {
  struct timespec end = until(CLOCK_REALTIME);
  return error_of(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &end, NULL));
}
static long do_futex(void) {
  struct timespec wait = span();
  return syscall(SYS_futex, &words[0], FUTEX_WAIT_PRIVATE, 0, &wait, NULL, 0);
}
static long do_futex_until(void) {
  struct timespec end = until(CLOCK_MONOTONIC);
  return syscall(SYS_futex, &words[0], FUTEX_WAIT_BITSET_PRIVATE, 0, &end, NULL, FUTEX_BITSET_MATCH_ANY);
}
static long do_cond_timedwait(void) {
  struct timespec end = until(CLOCK_REALTIME);
  pthread_mutex_lock(&mutex);
  int error = pthread_cond_timedwait(&condition, &mutex, &end);
  pthread_mutex_unlock(&mutex);
  return error_of(error);
}
static long do_sem_timedwait(void) {
  struct timespec end = until(CLOCK_REALTIME);
  return sem_timedwait(&never, &end);
}
static long do_semtimedop(void) {
  struct timespec wait = span();
  return semtimedop(semaphores, &(struct sembuf){.sem_num = 0, .sem_op = -1}, 1, &wait);
}
static long do_sigtimedwait(void) {
  struct timespec wait = span();
  sigset_t set = only(SIGRTMAX);
  return sigtimedwait(&set, NULL, &wait);
}
static long do_io_getevents(void) {
  struct timespec wait = span();
  struct io_event done;
  return syscall(SYS_io_getevents, events, 1, 1, &done, &wait);
}
static long do_mq_timedreceive(void) {
  struct timespec end = until(CLOCK_REALTIME);
  char text[64];
  return mq_timedreceive(messages, text, sizeof text, NULL, &end);
}
static long do_recv_timed(void) { return recv(timed_receiver[0], &(char){0}, 1, 0); }
static long do_read_timed(void) { return read(timed_receiver[1], &(char){0}, 1); }
static long do_send_timed(void) { return send(timed_sender[0], "x", 1, 0); }
static long do_accept_timed(void) { return accept(timed_listener, NULL, NULL); }
static long do_connect_timed(void) {
  int client = socket(AF_UNIX, SOCK_STREAM, 0);
  setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){ms / 1000, ms % 1000 * 1000}, sizeof(struct timeval));
  return connect(client, (struct sockaddr *)&crowded_address, crowded_length);
}
static long do_read_timerfd(void) {
  uint64_t expirations;
  int timer = timerfd_create(CLOCK_MONOTONIC, 0);
  timerfd_settime(timer, 0, &(struct itimerspec){.it_value = span()}, NULL);
  long result = read(timer, &expirations, sizeof expirations);
  close(timer);
  return result;
}

/* Calls that end when end_all says so. */
static long do_read_pipe(void) { return read(answered_pipe[0], &(char){0}, 1); }
static long do_write_pipe(void) { return write(draining_pipe[1], "xyz", 3); }
static long do_read_terminal(void) { return read(terminal, &(char[8]){0}, 8); }
static long do_recv(void) { return recv(stream[0], &(char){0}, 1, 0); }
static long do_accept(void) { return accept(listener, NULL, NULL) < 0 ? -1 : 0; }
static long do_wait4(void) {
  int status;
  return wait4(child, &status, 0, NULL) == child ? WEXITSTATUS(status) : -1;
}
static long do_waitid(void) {
  siginfo_t info;
  return waitid(P_PID, (id_t)other_child, &info, WEXITED) ? -1 : info.si_status;
}
static long do_flock(void) { return flock(locked_file, LOCK_EX); }
static long do_fcntl_lock(void) { return fcntl(record_file, F_OFD_SETLKW, &(struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET}); }
static long do_semop(void) { return semop(semaphores, &(struct sembuf){.sem_num = 1, .sem_op = -1}, 1); }
static long do_msgrcv(void) { return msgrcv(queue, &(struct message){0}, sizeof(char[64]), 0, 0); }
static long do_msgsnd(void) { return msgsnd(full_queue, &(struct message){1, "one more"}, sizeof(char[64]), 0); }
static long do_read_eventfd(void) { return read(event, &(uint64_t){0}, 8); }
static long do_futex_wait(void) { return syscall(SYS_futex, &words[1], FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0); }
static long do_sem_wait(void) { return sem_wait(&soon); }
static long do_open_fifo(void) {
  fifo_end = open(fifo_path, O_RDONLY);
  return fifo_end < 0 ? -1 : 0;
}
static long do_sigwaitinfo(void) {
  sigset_t set = only(SIGRTMIN + 3);
  return sigwaitinfo(&set, NULL) == SIGRTMIN + 3 ? 0 : -1;
}
static long do_sigsuspend(void) {
  sigset_t set = only(SIGUSR2);
  return sigsuspend(&set);
}
static long do_pause(void) { return pause(); }
static long do_poll_forever(void) { return poll(&(struct pollfd){.fd = bell[0], .events = POLLIN}, 1, -1); }
static long do_epoll_forever(void) { return epoll_wait(bell_epoll, &(struct epoll_event){0}, 1, -1); }
static long do_select_forever(void) {
  fd_set set;
  FD_ZERO(&set);
  FD_SET(bell[0], &set);
  return select(bell[0] + 1, &set, NULL, NULL, NULL);
}

static struct call {
  const char *name;
  long (*wait)(void);
  pthread_t thread;
  volatile int tid;
  int error;
  volatile int state; /* 0 ready, 1 waiting, 2 over */
  long result, took;
} calls[] = {
#define CALL(call) {.name = #call, .wait = do_##call}
  CALL(poll), CALL(ppoll), CALL(select), CALL(pselect), CALL(epoll_wait), CALL(epoll_pwait), CALL(nanosleep),
  CALL(nanosleep_rest), CALL(clock_nanosleep), CALL(clock_nanosleep_rest), CALL(clock_nanosleep_until), CALL(futex),
  CALL(futex_until), CALL(cond_timedwait), CALL(sem_timedwait), CALL(semtimedop), CALL(sigtimedwait), CALL(io_getevents), CALL(mq_timedreceive), CALL(recv_timed), CALL(read_timed),
  CALL(send_timed), CALL(accept_timed), CALL(connect_timed), CALL(read_timerfd), CALL(read_pipe), CALL(write_pipe),
  CALL(read_terminal), CALL(recv), CALL(accept), CALL(wait4), CALL(waitid), CALL(flock), CALL(fcntl_lock), CALL(semop), CALL(msgrcv),
  CALL(msgsnd), CALL(read_eventfd), CALL(futex_wait), CALL(sem_wait), CALL(open_fifo), CALL(sigwaitinfo), CALL(sigsuspend),
  CALL(pause), CALL(poll_forever), CALL(epoll_forever), CALL(select_forever),
};
enum { count = sizeof calls / sizeof *calls };

static pthread_barrier_t start;

static void *run(void *argument) {
  struct call *call = argument;
  struct timespec from, to;
  call->tid = gettid();
  pthread_barrier_wait(&start);
  call->state = 1;
  clock_gettime(CLOCK_MONOTONIC, &from);
  call->result = call->wait();
  call->error = call->result < 0 ? errno : 0;
  clock_gettime(CLOCK_MONOTONIC, &to);
  call->took = (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
  call->state = 2;
  for (;;) sem_wait(&never); /* the thread stays, for those who have its number */
  return NULL;
}

static void must(int done, const char *what) {
  if (done) return;
  fprintf(stderr, "restarts: %s: %s\n", what, strerror(errno));
  exit(2);
}

static pid_t child_that_exits(int code) {
  pid_t pid = fork();
  must(pid >= 0, "fork");
  if (pid) return pid;
  close(child_gate[1]);
  _exit(read(child_gate[0], &(char){0}, 1) == 0 ? code : 99); /* ends with the last writer */
}

static void open_sockets(void) {
  struct timeval limit = {ms / 1000, ms % 1000 * 1000};
  socklen_t length = sizeof address;
  char block[4096] = {0};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  listener = socket(AF_INET, SOCK_STREAM, 0);
  must(!bind(listener, (struct sockaddr *)&address, sizeof address) && !listen(listener, 8) &&
    !getsockname(listener, (struct sockaddr *)&address, &length), "listener");
  timed_listener = socket(AF_INET, SOCK_STREAM, 0);
  must(!bind(timed_listener, (struct sockaddr *)&(struct sockaddr_in){.sin_family = AF_INET, .sin_addr = address.sin_addr},
    sizeof address) && !listen(timed_listener, 8), "listener with a time limit");
  must(!socketpair(AF_UNIX, SOCK_STREAM, 0, stream) && !socketpair(AF_UNIX, SOCK_STREAM, 0, timed_receiver) &&
    !socketpair(AF_UNIX, SOCK_STREAM, 0, timed_sender), "socket pairs");
  setsockopt(timed_listener, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  for (int i = 0; i < 2; i++) setsockopt(timed_receiver[i], SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(timed_sender[0], SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  while (send(timed_sender[0], block, sizeof block, MSG_DONTWAIT) > 0) {}
  /* An abstract address of the kernel's choice; the queue takes one more than it says. */
  crowded = socket(AF_UNIX, SOCK_STREAM, 0);
  must(!bind(crowded, (struct sockaddr *)&crowded_address, sizeof(sa_family_t)) && !listen(crowded, 0) &&
    !getsockname(crowded, (struct sockaddr *)&crowded_address, &crowded_length), "crowded listener");
  while (connect(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), (struct sockaddr *)&crowded_address, crowded_length) == 0) {}
}

static void open_files(const char *directory) {
  char path[256], block[4096] = {0};
  snprintf(path, sizeof path, "%s/flock", directory);
  flock_holder = open(path, O_RDWR | O_CREAT, 0600);
  locked_file = open(path, O_RDWR);
  must(!flock(flock_holder, LOCK_EX), "flock");
  snprintf(path, sizeof path, "%s/record", directory);
  record_holder = open(path, O_RDWR | O_CREAT, 0600);
  record_file = open(path, O_RDWR);
  must(!fcntl(record_holder, F_OFD_SETLK, &(struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET}), "record lock");
  snprintf(fifo_path, sizeof fifo_path, "%s/fifo", directory);
  must(!mkfifo(fifo_path, 0600), "mkfifo");
  must(!pipe(quiet) && !pipe(bell) && !pipe(answered_pipe) && !pipe(draining_pipe) && !pipe(child_gate), "pipes");
  fcntl(draining_pipe[1], F_SETFL, O_NONBLOCK);
  while (write(draining_pipe[1], block, sizeof block) > 0) {}
  fcntl(draining_pipe[1], F_SETFL, 0);
  keyboard = posix_openpt(O_RDWR | O_NOCTTY);
  must(!grantpt(keyboard) && !unlockpt(keyboard), "terminal");
  terminal = open(ptsname(keyboard), O_RDWR | O_NOCTTY);
  epoll = epoll_create1(0);
  bell_epoll = epoll_create1(0);
  must(!epoll_ctl(bell_epoll, EPOLL_CTL_ADD, bell[0], &(struct epoll_event){.events = EPOLLIN}), "epoll");
  event = eventfd(0, 0);
}

static void open_queues(void) {
  char name[64];
  struct msqid_ds settings;
  semaphores = semget(IPC_PRIVATE, 2, 0600);
  queue = msgget(IPC_PRIVATE, 0600);
  full_queue = msgget(IPC_PRIVATE, 0600);
  must(semaphores >= 0 && queue >= 0 && full_queue >= 0 && !msgctl(full_queue, IPC_STAT, &settings), "System V queues");
  settings.msg_qbytes = 100;
  must(!msgctl(full_queue, IPC_SET, &settings) && !msgsnd(full_queue, &(struct message){1, "first"}, sizeof(char[64]), 0), "msgsnd");
  must(!syscall(SYS_io_setup, 1, &events), "io_setup");
  snprintf(name, sizeof name, "/restarts-%d", getpid());
  messages = mq_open(name, O_CREAT | O_RDWR, 0600, &(struct mq_attr){.mq_maxmsg = 1, .mq_msgsize = 64});
  must(messages >= 0 && !mq_unlink(name), "message queue");
  sem_init(&never, 0, 0);
  sem_init(&soon, 0, 0);
}

/* Gives every wait without a time limit what it waits for. */
static void end_all(void) {
  char block[65536];
  int client = socket(AF_INET, SOCK_STREAM, 0);
  must(write(answered_pipe[1], "x", 1) == 1 && read(draining_pipe[0], block, sizeof block) > 0 && write(keyboard, "k\n", 2) == 2 &&
    write(stream[1], "x", 1) == 1 && write(bell[1], "x", 1) == 1 && write(event, &(uint64_t){1}, 8) == 8, "write");
  must(!connect(client, (struct sockaddr *)&address, sizeof address), "connect");
  must(!flock(flock_holder, LOCK_UN) &&
    !fcntl(record_holder, F_OFD_SETLK, &(struct flock){.l_type = F_UNLCK, .l_whence = SEEK_SET}), "unlock");
  must(!semop(semaphores, &(struct sembuf){.sem_num = 1, .sem_op = 1}, 1), "semop");
  must(!msgsnd(queue, &(struct message){1, "here"}, sizeof(char[64]), 0), "msgsnd");
  must(msgrcv(full_queue, &(struct message){0}, sizeof(char[64]), 0, 0) == 64, "msgrcv");
  must(syscall(SYS_futex, &words[1], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) == 1, "futex");
  sem_post(&soon);
  must(open(fifo_path, O_WRONLY) >= 0, "fifo");
  close(child_gate[1]);
  for (int i = 0; i < count; i++) {
    if (calls[i].wait == do_sigwaitinfo) pthread_kill(calls[i].thread, SIGRTMIN + 3);
    if (calls[i].wait == do_sigsuspend || calls[i].wait == do_pause) pthread_kill(calls[i].thread, SIGUSR1);
  }
}

static void on_usr1(int unused) { (void)unused; }

int main(int argc, char **argv) {
  char word[64];
  sigset_t waited = only(SIGRTMAX);
  if (argc < 3) return 2;
  must(argc == 3 || !forbid_restart_syscall(), "filter");
  ms = atol(argv[1]);
  setvbuf(stdout, NULL, _IONBF, 0);
  sigaddset(&waited, SIGRTMIN + 3);
  pthread_sigmask(SIG_BLOCK, &waited, NULL);
  sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_usr1}, NULL);
  open_files(argv[2]);
  child = child_that_exits(5);
  other_child = child_that_exits(6);
  open_sockets();
  open_queues();
  pthread_barrier_init(&start, NULL, count + 1);
  for (int i = 0; i < count; i++) must(!pthread_create(&calls[i].thread, NULL, run, &calls[i]), "thread");
  puts("ready");
  while (scanf("%63s", word) == 1) {
    if (strcmp(word, "dozen") == 0) printf("dozen=%d.\n", dozen());
    if (strcmp(word, "go") == 0) pthread_barrier_wait(&start), puts("gone.");
    if (strcmp(word, "end") == 0) end_all(), puts("ended.");
    if (strcmp(word, "tell") == 0) {
      for (int i = 0; i < count; i++)
        printf("%s %d %s %ld %s %ld\n", calls[i].name, calls[i].tid, calls[i].state == 2 ? "over" : "waiting", calls[i].result,
          strerrorname_np(calls[i].error), calls[i].took);
      puts("told.");
    }
  }
  semctl(semaphores, 0, IPC_RMID);
  msgctl(queue, IPC_RMID, NULL);
  msgctl(full_queue, IPC_RMID, NULL);
  puts("bye");
  return 0;
}
