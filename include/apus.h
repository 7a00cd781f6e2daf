#ifndef APUS_H
#define APUS_H
#endif
