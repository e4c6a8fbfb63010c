-- timeout: 120
-- Wherever a main thread usually waits, in the C library or in a handler of its own, SUSE's tool may load a patch; where it
-- holds a lock that loading needs, never.
local t = require "ulp.scenario"
local suse = t.shared "suse"

local fix = t.patch "dozens_13"

local code = [[
  #define _GNU_SOURCE
  #include <poll.h>
  #include <pthread.h>
  #include <semaphore.h>
  #include <signal.h>
  #include <stdio.h>
  #include <stdlib.h>
  #include <sys/epoll.h>
  #include <sys/select.h>
  #include <sys/socket.h>
  #include <sys/wait.h>
  #include <time.h>
  #include <unistd.h>
  int dozen(void);
  static pthread_t thread;
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
  static pthread_barrier_t barrier;
  static sem_t semaphore;
  static sigset_t none, usr1;
  static int ends[2], number;
  static char byte;
  static void *answer(void *unused) {
    for (char line[80]; fgets(line, sizeof line, stdin); fflush(stdout)) printf("dozen=%%d.\n", dozen());
    return unused;
  }
  static void wait_here(int number) { if (number) pause(); }
  static void nest(int number) { raise(number == SIGALRM ? SIGUSR1 : SIGALRM); }
  static void wait_forever(void) { pause(); }
  int main(void) {
    struct timespec late = {1l << 40, 0};
    struct epoll_event event;
    struct msghdr message = {0};
    sem_init(&semaphore, 0, 0);
    pthread_barrier_init(&barrier, NULL, 2);
    sigaddset(&usr1, SIGUSR1);
    if (pthread_create(&thread, NULL, answer, NULL) || socketpair(AF_UNIX, SOCK_STREAM, 0, ends)) return 2;
    puts("ready");
    fflush(stdout);
    (void)event, (void)message, (void)late, (void)wait_here, (void)nest, (void)wait_forever;
    %s
    return number + byte;
  }
]]
local places = {
  join = "pthread_join(thread, NULL);", timed_join = "pthread_timedjoin_np(thread, NULL, &late);",
  mutex = "pthread_mutex_lock(&mutex); pthread_mutex_lock(&mutex);",
  condition = "pthread_mutex_lock(&mutex); for (;;) pthread_cond_wait(&condition, &mutex);",
  semaphore = "sem_wait(&semaphore);", barrier = "pthread_barrier_wait(&barrier);",
  sigwait = "pthread_sigmask(SIG_BLOCK, &usr1, NULL); sigwait(&usr1, &number);", sigsuspend = "sigsuspend(&none);",
  waitpid = "if (!fork()) for (;;) pause(); waitpid(-1, NULL, 0);", system = 'return system("sleep 60");',
  popen = 'byte = (char)getc(popen("sleep 60", "r"));', select = "select(0, NULL, NULL, NULL, NULL);",
  poll = "poll(NULL, 0, -1);", sleep = "sleep(60);", read = "return (int)read(ends[0], &byte, 1);",
  receive = "return (int)recvmsg(ends[0], &message, 0);", stdio = 'byte = (char)getc(fdopen(ends[0], "r"));',
  handler = "signal(SIGALRM, wait_here); raise(SIGALRM);",
  handler_of_handler = "signal(SIGUSR1, wait_here); signal(SIGALRM, nest); raise(SIGALRM);",
  epoll_pwait = "for (number = epoll_create1(0);;) epoll_pwait(number, &event, 1, 1000, &usr1);",
}
local refused = {exit = "atexit(wait_forever); exit(0);"}

local function start(name, body)
  local program = t.cc {kind = "program", as = "at_" .. name, libraries = {t.path "libdozens.so.0"}, code = code:format(body)}
  local c = t.target {program, timeout = 20}
  c:ask("?", "dozen=12.")
  t.asleep(c.pid)
  return c
end

for name, body in pairs(places) do
  local c <close> = start(name, body)
  for _, row in ipairs {{13, "trigger", c.pid, fix}, {12, "--revert", "trigger", c.pid, fix}} do
    local found = suse.run(table.unpack(row, 2))
    if found.name == "EAGAIN" then found = suse.patiently(table.unpack(row, 2)) end -- on its way there, or between two waits
    t.eq(found.name, "ENONE", name .. ": " .. suse.run("messages", c.pid).text)
    c:ask("?", ("dozen=%d."):format(row[1]), {reject = "dozen=" .. 25 - row[1]})
  end
  t.unharmed(c.pid)
end
for name, body in pairs(refused) do
  local c <close> = start(name, body)
  for _ = 1, 3 do t.eq(suse.run("trigger", c.pid, fix).name, "EAGAIN", name) end
  c:ask("?", "dozen=12.", {reject = "dozen=13"})
end
